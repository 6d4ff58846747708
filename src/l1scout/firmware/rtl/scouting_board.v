// The data path of the scouting board: words of eight links in, DMA packets out.
//
//   link_receiver -> suppressor -> (recalibrate) -> orbit_buffer --> packet_framer -> rows of a packet
//        x 8            x 8            x 8              x 8               ^
//        '--- how each orbit ended ---> orbit_account --------------------'
//
// One clock, that of the links' words (250 MHz). See docs/firmware-board.md.
module scouting_board #(
    parameter [31:0] CRC_POLYNOMIAL = 32'h04C11DB7,
    parameter [31:0] CRC_START = 32'hFFFFFFFF,
    parameter [31:0] CRC_END = 32'hFFFFFFFF,
    parameter        CRC_REFLECTED = 1,
    parameter        RUN3 = 1,        // 0: packets of Run 2
    parameter        RECALIBRATE = 0  // 1: every muon goes through a core `recalibrate`
) (
    input clk,
    input reset,

    // links, from transceivers whose elastic buffers have brought them to this clock; word of link l in
    // bits 32 l, its K flags in bits 4 l. A link without a word in a clock says so with link_valid.
    input [  7:0] link_valid,
    input [ 31:0] link_k,
    input [255:0] link_words,
    // the LHC's orbit signal, with the number of the orbit that begins; 16 clocks apart or more. After a
    // number that does not follow the one before, nothing more is expected of the orbit before.
    input         orbit,
    input [ 31:0] orbit_number,

    // settings, not to be changed while orbits come
    input [79:0] min_pt,             // 10 bits a link: smallest hwPt, 1 to 512
    input [39:0] min_quality,        // 5 bits a link: smallest hwQual, 0 to 16
    input [ 7:0] intermediate,       // links with intermediate muons
    input [ 6:0] orbits_per_packet,  // 1 to 127
    input [ 2:0] marks,              // of every orbit: 2 simulated, 4 real, 0 not stated

    // packets: 32 bytes a row, lowest first. packet_ready is looked at when packet_ask is high: a packet
    // that begins now can be taken. If not, the orbit is dropped. out_ready holds up rows.
    input          packet_ready,
    output         packet_ask,
    output         out_valid,
    input          out_ready,
    output [255:0] out_data,
    output         out_last,
    input          close,         // send what is there as a packet with fewer orbits
    output         quiet,         // nothing is on its way out

    // counters since the reset
    output [  63:0] orbits,
    output [  63:0] delivered,
    output [  63:0] flagged,
    output [  63:0] idle,
    output [  63:0] lost,
    output [  63:0] dropped,
    output [  63:0] blocks,
    output [   6:0] held,          // orbits in the packet under way
    output [1535:0] states_count,  // 32 bits for each state and link
    output [ 255:0] realigns,
    output [ 255:0] commas,

    // what happens, for the account of a simulation; a synthesis leaves out what is not connected
    output        decided,
    output [31:0] decided_number,
    output [ 7:0] decided_good,
    output [ 1:0] decided_what,
    output [63:0] decided_begins,
    output        written,  // the last row of an orbit has left the memory
    output [ 1:0] buffers_busy
);
    // inputs are registered first; parity tells the orbits apart
    reg [7:0] valid;
    reg [31:0] k;
    reg [255:0] words;
    reg tick, follows, parity;
    reg [31:0] number;

    always @(posedge clk) begin
        valid <= link_valid;
        k <= link_k;
        words <= link_words;
        tick <= orbit && !reset;
        if (orbit) begin
            number <= orbit_number;
            follows <= orbit_number == number + 32'd1;
            parity <= !parity;
        end
        if (reset) begin
            valid <= 8'd0;
            parity <= 1'b1;  // the first orbit's is 0
        end
    end

    wire [15:0] done;
    wire [47:0] states;
    wire [127:0] begins;
    wire [1:0] taken, writable;
    wire read;
    wire [13:0] read_at;
    wire [7:0] read_hits_at;
    wire [511:0] muons;
    wire [143:0] extras;
    wire [255:0] hits;

    genvar link;
    generate
        for (link = 0; link < 8; link = link + 1) begin : links
            wire start, start_parity, data_valid;
            wire [31:0] data;
            wire muon_valid, kept_valid, extra_valid, hits_valid;
            wire [63:0] muon, kept;
            wire [13:0] muon_tag, kept_tag;
            wire [17:0] extra;
            /* verilator lint_off UNUSED */
            wire [17:0] muon_etas;  // for the core
            /* verilator lint_on UNUSED */
            wire [12:0] extra_at;
            wire [31:0] link_hits;
            wire [7:0] hits_at;

            link_receiver #(
                .CRC_POLYNOMIAL(CRC_POLYNOMIAL), .CRC_START(CRC_START), .CRC_END(CRC_END),
                .CRC_REFLECTED(CRC_REFLECTED)
            ) receiver (
                .clk(clk), .reset(reset),
                .valid(valid[link]), .k(k[4*link+:4]), .word(words[32*link+:32]),
                .orbit(tick), .follows(follows), .parity(parity),
                .start(start), .start_parity(start_parity), .data_valid(data_valid), .data(data),
                .done(done[2*link+:2]), .states(states[6*link+:6]), .begins(begins[16*link+:16]),
                .taken(taken), .commas(commas[32*link+:32])
            );

            suppressor suppress (
                .clk(clk), .reset(reset),
                .start(start), .start_parity(start_parity), .data_valid(data_valid), .data(data),
                .min_pt(min_pt[10*link+:10]), .min_quality(min_quality[5*link+:5]),
                .muon_valid(muon_valid), .muon(muon), .muon_tag(muon_tag), .muon_etas(muon_etas),
                .extra_valid(extra_valid), .extra(extra), .extra_at(extra_at),
                .hits_valid(hits_valid), .hits(link_hits), .hits_at(hits_at)
            );

            // the place for the recalibration core (recalibrate.v): one muon a clock, never held up, the tag
            // carried along, at most 100 clocks; 0 stays 0. Its own word takes the place of the GMT's.
            if (RECALIBRATE != 0) begin : recalibrated
                /* verilator lint_off UNUSED */
                wire [63:0] unchanged;
                /* verilator lint_on UNUSED */
                wire [8:0] eta = RUN3 == 0 ? muon[61:53] : muon_tag[0] ? muon_etas[17:9] : muon_etas[8:0];
                recalibrate #(.TAG_BITS(14)) core (
                    .clk(clk), .reset(reset),
                    .in_valid(muon_valid), .in_tag(muon_tag), .in_muon(muon), .in_eta(eta),
                    .out_valid(kept_valid), .out_tag(kept_tag), .out_muon(unchanged),
                    .out_recalibrated(kept)
                );
            end else begin : as_received
                assign kept_valid = muon_valid;
                assign kept = muon;
                assign kept_tag = muon_tag;
            end

            orbit_buffer #(.EXTRA(RUN3)) buffer (
                .clk(clk), .writable(writable),
                .muon_valid(kept_valid), .muon(kept), .muon_at(kept_tag),
                .extra_valid(extra_valid), .extra(extra), .extra_at(extra_at),
                .hits_valid(hits_valid), .hits(link_hits), .hits_at(hits_at),
                .read(read), .read_at(read_at), .read_muon(muons[64*link+:64]),
                .read_extra(extras[18*link+:18]),
                .read_hits_at(read_hits_at), .read_hits(hits[32*link+:32])
            );
        end
    endgenerate

    wire ready, ready_parity, finished, closing, last;
    wire [31:0] ready_number;
    wire [7:0] ready_good;
    wire [23:0] ready_states;
    wire [255:0] ready_realigns;
    wire [63:0] ready_lost, ready_dropped, ready_delivered;

    orbit_account account (
        .clk(clk), .reset(reset),
        .orbit(tick), .orbit_number(number), .parity(parity),
        .done(done), .states(states), .begins(begins), .taken(taken),
        .orbits_per_packet(orbits_per_packet), .packet_ready(packet_ready), .packet_ask(packet_ask),
        .close(close), .writable(writable), .busy(buffers_busy),
        .ready(ready), .ready_parity(ready_parity), .finished(finished), .closing(closing), .last(last),
        .number(ready_number), .good(ready_good), .link_states(ready_states),
        .link_realigns(ready_realigns), .lost_before(ready_lost), .dropped_before(ready_dropped),
        .delivered_before(ready_delivered),
        .orbits(orbits), .delivered(delivered), .flagged(flagged), .idle(idle), .lost(lost),
        .dropped(dropped), .held(held), .states_count(states_count), .realigns(realigns),
        .decided(decided), .decided_number(decided_number), .decided_good(decided_good),
        .decided_what(decided_what), .decided_begins(decided_begins)
    );

    packet_framer #(.RUN3(RUN3)) framer (
        .clk(clk), .reset(reset), .intermediate(intermediate), .marks(marks),
        .ready(ready), .parity(ready_parity), .finished(finished), .closing(closing), .last(last),
        .number(ready_number), .good(ready_good), .link_states(ready_states),
        .link_realigns(ready_realigns), .lost(ready_lost), .dropped(ready_dropped),
        .delivered(ready_delivered),
        .read(read), .read_at(read_at), .muons(muons), .extras(extras),
        .read_hits_at(read_hits_at), .hits(hits),
        .out_valid(out_valid), .out_ready(out_ready), .out_data(out_data), .out_last(out_last),
        .blocks(blocks)
    );

    assign quiet = !ready && !out_valid;
    assign written = finished;
endmodule
