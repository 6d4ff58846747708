// What happened on each link: orbits in each state, and realigns. Counts when `count` is high.
//
// A realign is a good orbit that begins at another place after the orbit signal than the last good one
// of that link, or the first good one after a loss of lock.
module link_counters (
    input clk,
    input reset,

    input        count,
    input [23:0] states,  // 3 bits a link
    input [63:0] begins,  // 8 bits a link

    output reg [1535:0] orbits,   // 32 bits for each state and link: state 0 of links 0 to 7, state 1 ...
    output reg [ 255:0] realigns  // 32 bits a link
);
    localparam [2:0] GOOD = 0, UNLOCKED = 2;

    reg [7:0] seen, known;
    reg [63:0] place;  // where the last good orbit began, if it is known
    integer link, state;

    always @(posedge clk) begin
        if (count)
            for (link = 0; link < 8; link = link + 1) begin
                for (state = 0; state < 6; state = state + 1)
                    if (states[3*link+:3] == state[2:0])
                        orbits[32*(8*state+link)+:32] <= orbits[32*(8*state+link)+:32] + 32'd1;
                if (states[3*link+:3] == UNLOCKED) known[link] <= 1'b0;
                if (states[3*link+:3] == GOOD) begin
                    if (seen[link] && !(known[link] && place[8*link+:8] == begins[8*link+:8]))
                        realigns[32*link+:32] <= realigns[32*link+:32] + 32'd1;
                    place[8*link+:8] <= begins[8*link+:8];
                    known[link] <= 1'b1;
                    seen[link] <= 1'b1;
                end
            end
        if (reset) begin
            seen <= 8'd0;
            known <= 8'd0;
            orbits <= 1536'd0;
            realigns <= 256'd0;
        end
    end
endmodule
