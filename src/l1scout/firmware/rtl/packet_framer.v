// Writes orbits out as DMA packets, in rows of eight words (256 bits, word l of link l).
//
// Run 3: header, six rows for each non-empty BX, end mark, 14 rows of map, link states, realigns. Run 2:
// the six rows only. After the last orbit of a packet its trailer. A row a clock while the sink takes
// them; three clocks from a row's number to the row (memory, choice, output).
module packet_framer #(
    parameter RUN3 = 1
) (
    input clk,
    input reset,
    input [7:0] intermediate,
    input [2:0] marks,

    // the orbit to be written: see orbit_account.v
    input          ready,
    input          parity,
    output         finished,
    input          closing,
    input          last,
    input  [ 31:0] number,
    input  [  7:0] good,
    input  [ 23:0] link_states,
    input  [255:0] link_realigns,
    input  [ 63:0] lost,
    input  [ 63:0] dropped,
    input  [ 63:0] delivered,

    // its buffer
    output         read,
    output [ 13:0] read_at,
    input  [511:0] muons,
    input  [143:0] extras,
    output [  7:0] read_hits_at,
    input  [255:0] hits,

    output reg         out_valid,
    input              out_ready,
    output reg [255:0] out_data,
    output reg         out_last,  // last row of a packet

    output reg [63:0] blocks  // since the reset
);
    localparam [31:0] HEADER_MARK = 32'h6C316F72, ORBIT_END = 32'hBEEFDEAD, TRAILER_MARK = 32'hDEADBEEF;
    localparam [3:0] WAIT = 0, COUNT = 1, HEADER = 2, BLOCKS = 3, END = 4, MAP = 5, STATES = 6, REALIGNS = 7,
                     TRAILER = 8, DRAIN = 9;
    localparam [2:0] ROW_NUMBER = RUN3 != 0 ? 3'd0 : 3'd1, ROW_BX = RUN3 != 0 ? 3'd1 : 3'd0;

    reg [3:0] state;
    wire advance = !out_valid || out_ready;

    // BX of the block under way, and what is next
    reg have;
    reg [11:0] bx;
    reg [2:0] row;  // of the block
    reg [3:0] map_row;
    wire counted, next_valid, empty;
    wire [11:0] count, next_bx;
    wire [255:0] map;
    wire block_ends = have && row == 3'd5;
    wire take = advance && next_valid && (state == HEADER || (state == BLOCKS && (!have || block_ends)));
    wire start = state == WAIT && ready && !closing;

    bx_finder finder (
        .clk(clk), .reset(reset), .start(start), .parity(parity), .good(good),
        .hits_at(read_hits_at), .hits(hits), .counted(counted), .count(count),
        .next_valid(next_valid), .next_bx(next_bx), .take(take), .empty(empty),
        .row_at(map_row), .row(map)
    );

    // the first stage says which row is next, while its words are asked for
    wire has_row = state == BLOCKS ? have : state != WAIT && state != COUNT && state != DRAIN;
    assign read = advance;
    assign read_at = {parity, bx, row >= 3'd4};

    // the second stage has the words
    reg row_valid;
    reg [3:0] row_state;
    reg [2:0] row_row;
    reg [11:0] row_bx;
    reg [255:0] row_map;

    assign finished = state == DRAIN && !row_valid;

    always @(posedge clk) begin
        case (state)
            WAIT: if (ready) state <= closing ? TRAILER : COUNT;
            COUNT: if (counted) state <= RUN3 != 0 ? HEADER : BLOCKS;
            HEADER: if (advance) state <= BLOCKS;
            BLOCKS: if (advance && !have && empty) state <= RUN3 != 0 ? END : last ? TRAILER : DRAIN;
            END: if (advance) state <= MAP;
            MAP: if (advance && map_row == 4'd13) state <= STATES;
            STATES: if (advance) state <= REALIGNS;
            REALIGNS: if (advance) state <= last ? TRAILER : DRAIN;
            TRAILER: if (advance) state <= DRAIN;
            default: if (!row_valid) state <= WAIT;
        endcase
        if (start) have <= 1'b0;
        if (state == COUNT && counted) blocks <= blocks + {52'd0, count};
        if (advance) begin
            map_row <= state == MAP ? map_row + 4'd1 : 4'd0;
            row <= state == BLOCKS && have && !block_ends ? row + 3'd1 : 3'd0;
            if (take) begin
                have <= 1'b1;
                bx <= next_bx;
            end else if (block_ends) have <= 1'b0;

            row_valid <= has_row;
            row_state <= state;
            row_row <= row;
            row_bx <= bx;
            row_map <= map;
        end
        if (reset) begin
            state <= WAIT;
            row_valid <= 1'b0;
            blocks <= 64'd0;
        end
    end

    // the words of a row
    reg [255:0] words;
    reg [31:0] constant_bits;
    wire [12:0] bx_number = {1'b0, row_bx} + 13'd1;
    wire [63:0] missing = lost + dropped;
    reg [60:0] all_realigns;
    integer link;

    always @* begin
        all_realigns = 61'd0;
        for (link = 0; link < 8; link = link + 1)
            all_realigns = all_realigns + {29'd0, link_realigns[32*link+:32]};
        words = 256'd0;
        constant_bits = 32'd0;
        case (row_state)
            HEADER: words = {61'd0, marks, dropped[31:0], lost[31:0], 24'd0, good, 20'd0, count, number, HEADER_MARK};
            END: words = {8{ORBIT_END}};
            MAP: words = row_map;
            STATES: for (link = 0; link < 8; link = link + 1) words[32*link+:3] = link_states[3*link+:3];
            REALIGNS: words = link_realigns;
            TRAILER: words = {delivered, missing, marks, all_realigns, TRAILER_MARK, TRAILER_MARK};
            default:
            for (link = 0; link < 8; link = link + 1) begin
                constant_bits = RUN3 != 0 ? {intermediate[link], 31'd0} :
                    {1'b0, {4{intermediate[link]}}, 1'b0, link[2:0], 23'd0};
                if (row_row == ROW_NUMBER) words[32*link+:32] = {!good[link], number[30:0]};
                else if (row_row == ROW_BX)
                    words[32*link+:32] = constant_bits | {19'd0, bx_number} |
                        {1'b0, good[link] ? extras[18*link+:18] : 18'd0, 13'd0};
                else if (good[link]) words[32*link+:32] = muons[64*link+32*row_row[0]+:32];
            end
        endcase
    end

    always @(posedge clk) begin
        if (advance) begin
            out_valid <= row_valid;
            out_data <= words;
            out_last <= row_state == TRAILER;
        end
        if (reset) out_valid <= 1'b0;
    end
endmodule
