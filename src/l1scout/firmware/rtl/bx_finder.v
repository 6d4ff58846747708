// Finds the non-empty BX of an orbit: joins the links' maps, counts, and gives one BX after the other.
//
// `start` reads the 112 words of the good links' maps (115 clocks); then `counted` is high, and `count`
// holds. From then on `next_bx` is the next BX (from 0) while `next_valid`, until it is taken; `empty`
// says that there is no more. A BX is found in a clock, and a word of the map without any costs one.
// Rows of the joined map, 8 words each, can be read at any time after `counted`, when `empty`.
module bx_finder (
    input clk,
    input reset,

    input start,
    input parity,
    input [7:0] good,

    output     [  7:0] hits_at,  // read address for the maps; their words come a clock later
    input      [255:0] hits,     // word of link l in bits 32 l

    output reg         counted,
    output reg [ 11:0] count,

    output reg         next_valid,
    output reg [ 11:0] next_bx,
    input              take,
    output             empty,

    input      [  3:0] row_at,
    output     [255:0] row
);
    localparam [6:0] WORDS = 112;

    // reading and joining: address, then the links' words, then one word
    reg reading;
    reg [6:0] word_at, here_at, joined_at;
    reg here, joined_valid;
    reg [31:0] joined, joined_next;
    reg [5:0] ones;
    integer link, bit_at;

    assign hits_at = {parity, word_at};

    always @* begin
        joined_next = 32'd0;
        for (link = 0; link < 8; link = link + 1)
            if (good[link]) joined_next = joined_next | hits[32*link+:32];
        ones = 6'd0;
        for (bit_at = 0; bit_at < 32; bit_at = bit_at + 1) ones = ones + {5'd0, joined[bit_at]};
    end

    always @(posedge clk) begin
        here <= reading;
        here_at <= word_at;
        joined_valid <= here;
        joined_at <= here_at;
        joined <= joined_next;
        if (start) begin
            reading <= 1'b1;
            word_at <= 7'd0;
            count <= 12'd0;
            counted <= 1'b0;
        end else begin
            if (reading) begin
                word_at <= word_at + 7'd1;
                reading <= word_at != WORDS - 7'd1;
            end
            if (joined_valid) begin
                count <= count + {6'd0, ones};
                counted <= joined_at == WORDS - 7'd1;
            end
        end
        if (reset) {reading, here, joined_valid, counted} <= 4'd0;
    end

    // the joined map: word w in memory w % 8, so that a row of the packet is read at once
    reg [6:0] scan_at;  // word to look at next
    wire scanning = scan_at != WORDS;
    wire [3:0] read_row = scanning ? scan_at[6:3] : row_at;
    genvar lane;
    generate
        for (lane = 0; lane < 8; lane = lane + 1) begin : lanes
            reg [31:0] map[0:15];
            always @(posedge clk) if (joined_valid && joined_at[2:0] == lane) map[joined_at[6:3]] <= joined;
            assign row[32*lane+:32] = map[read_row];
        end
    endgenerate

    // looking for bits: the word under way without those that were given
    reg  [31:0] left;
    wire [31:0] lowest = left & (~left + 32'd1);
    wire        room = !next_valid || take;
    reg  [ 4:0] place;
    integer     at;

    always @* begin
        place = 5'd0;
        for (at = 0; at < 32; at = at + 1) if (lowest[at]) place = place | at[4:0];
    end

    // a word is loaded when the last bit of the one before leaves
    wire last_leaves = left == 32'd0 || (room && (left ^ lowest) == 32'd0);
    wire [6:0] left_word = scan_at - 7'd1;
    assign empty = counted && !scanning && left == 32'd0 && !next_valid;

    always @(posedge clk) begin
        if (start || !counted) begin
            scan_at <= 7'd0;
            left <= 32'd0;
            next_valid <= 1'b0;
        end else begin
            if (room) begin
                next_valid <= left != 32'd0;
                next_bx <= {left_word, place};
                left <= left ^ lowest;
            end
            if (scanning && last_leaves) begin
                left <= row[32*scan_at[2:0]+:32];
                scan_at <= scan_at + 7'd1;
            end
        end
        if (reset) next_valid <= 1'b0;
    end
endmodule
