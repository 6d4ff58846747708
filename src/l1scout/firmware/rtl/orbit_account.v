// Decides what becomes of each orbit when all links have ended it, counts, and lends the two buffers.
//
// In the order of time: an orbit without any good link is idle (nothing but commas) or lost; one that
// begins a packet while the sink is not ready is dropped; so is one whose buffer was still being read
// three clocks after its orbit signal (overrun: the stream was held up). Any other is delivered: what
// its rows will say is noted as it is now, since later orbits may be counted before they are written.
module orbit_account (
    input clk,
    input reset,

    // in the clock in which the receivers see it
    input        orbit,
    input [31:0] orbit_number,
    input        parity,

    // from the receivers: bit 2 l + parity, 3 and 8 bits for each of them
    input  [ 15:0] done,
    input  [ 47:0] states,
    input  [127:0] begins,
    output [  1:0] taken,

    input  [6:0] orbits_per_packet,
    input        packet_ready,
    output       packet_ask,  // `packet_ready` is heeded in this clock
    input        close,       // send what is there as a packet with fewer orbits, when all is written

    output reg [1:0] writable,  // buffers, by parity
    output reg [1:0] busy,      // from the orbit signal until written out or given up

    // orbits to be written out, the oldest first
    output             ready,
    output             ready_parity,
    input              finished,
    output reg         closing,  // the trailer only
    output             last,     // and then the packet's trailer
    output     [ 31:0] number,
    output     [  7:0] good,
    output     [ 23:0] link_states,
    output     [255:0] link_realigns,
    output     [ 63:0] lost_before,
    output     [ 63:0] dropped_before,
    output     [ 63:0] delivered_before,

    // counters since the reset
    output reg [  63:0] orbits,
    output reg [  63:0] delivered,
    output reg [  63:0] flagged,
    output reg [  63:0] idle,
    output reg [  63:0] lost,
    output reg [  63:0] dropped,
    output reg [   6:0] held,      // orbits in the packet so far
    output     [1535:0] states_count,
    output     [ 255:0] realigns,

    // for the clock-by-clock account of a simulation: an orbit is decided
    output        decided,
    output [31:0] decided_number,
    output [ 7:0] decided_good,
    output [ 1:0] decided_what,    // 0 idle, 1 lost, 2 dropped, 3 delivered
    output [63:0] decided_begins
);
    localparam [2:0] GOOD = 0, IDLE = 1;
    localparam WIDTH = 1 + 32 + 8 + 24 + 256 + 3 * 64;

    reg turn;  // parity of the orbit to be decided next
    reg [31:0] new_number, number_0, number_1;
    reg [1:0] overrun;
    reg [2:0] orbit_late;

    // the orbit whose turn it is
    reg [7:0] turn_done, turn_good, turn_idle;
    reg [23:0] turn_states;
    reg [63:0] turn_begins;
    integer link;
    always @* begin
        for (link = 0; link < 8; link = link + 1) begin
            turn_done[link] = turn ? done[2*link+1] : done[2*link];
            turn_states[3*link+:3] = turn ? states[6*link+3+:3] : states[6*link+:3];
            turn_begins[8*link+:8] = turn ? begins[16*link+8+:8] : begins[16*link+:8];
            turn_good[link] = turn_states[3*link+:3] == GOOD;
            turn_idle[link] = turn_states[3*link+:3] == IDLE;
        end
    end

    wire any_good = turn_good != 8'd0;
    wire overran = overrun[turn];
    wire drop = any_good && (overran || (held == 7'd0 && !packet_ready));
    wire deliver = decided && any_good && !drop;
    wire full = held + 7'd1 == orbits_per_packet;
    assign decided = &turn_done;
    assign decided_number = turn ? number_1 : number_0;
    assign decided_good = turn_good;
    assign decided_begins = turn_begins;
    assign decided_what = any_good ? {1'b1, !drop} : {1'b0, turn_idle != 8'hFF};
    assign packet_ask = decided && any_good && !overran && held == 7'd0;
    assign taken = {decided && turn, decided && !turn};

    link_counters counters (
        .clk(clk), .reset(reset), .count(decided), .states(turn_states), .begins(turn_begins),
        .orbits(states_count), .realigns(realigns)
    );

    // a clock after the decision, with the counters that include it
    reg describe, describe_parity, describe_last;
    reg [31:0] describe_number;
    reg [7:0] describe_good;
    reg [23:0] describe_states;
    reg [WIDTH-1:0] described[0:1];
    reg [1:0] pending;
    wire start_closing = close && !decided && !describe && pending == 2'd0 && held != 7'd0;

    assign ready = pending != 2'd0;
    assign ready_parity = pending == 2'b11 ? !describe_parity : pending[1];
    assign {last, number, good, link_states, link_realigns, lost_before, dropped_before, delivered_before} =
        described[ready_parity];

    always @(posedge clk) begin
        if (decided) begin
            turn <= !turn;
            orbits <= orbits + 64'd1;
            case (decided_what)
                2'd0: idle <= idle + 64'd1;
                2'd1: lost <= lost + 64'd1;
                2'd2: dropped <= dropped + 64'd1;
                default: begin
                    delivered <= delivered + 64'd1;
                    if (turn_good != 8'hFF) flagged <= flagged + 64'd1;
                    held <= full ? 7'd0 : held + 7'd1;
                end
            endcase
        end
        if (start_closing) held <= 7'd0;

        describe <= deliver || start_closing;
        if (decided || start_closing) begin
            describe_parity <= turn;
            describe_last <= full || start_closing;
            describe_number <= decided_number;
            describe_good <= turn_good;
            describe_states <= turn_states;
        end
        if (start_closing) closing <= 1'b1;
        if (describe) begin
            described[describe_parity] <= {
                describe_last, describe_number, describe_good, describe_states, realigns, lost, dropped, delivered
            };
            pending[describe_parity] <= 1'b1;
        end

        // buffers: given back, given up, lent
        if (finished) begin
            pending[ready_parity] <= 1'b0;
            if (!closing) busy[ready_parity] <= 1'b0;
            closing <= 1'b0;
        end
        if (decided && !deliver && !overran) busy[turn] <= 1'b0;
        orbit_late <= {orbit_late[1:0], orbit};
        if (orbit) new_number <= orbit_number;
        if (orbit_late[2]) begin
            if (parity) number_1 <= new_number;
            else number_0 <= new_number;
            overrun[parity] <= busy[parity];
            writable[parity] <= !busy[parity];
            if (!busy[parity]) busy[parity] <= 1'b1;
        end

        if (reset) begin
            {turn, describe, closing} <= 3'd0;
            {pending, busy, writable} <= 6'd0;
            orbit_late <= 3'd0;
            held <= 7'd0;
            {orbits, delivered, flagged} <= 192'd0;
            {idle, lost, dropped} <= 192'd0;
        end
    end
endmodule
