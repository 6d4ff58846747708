// Zero suppression of one link: what of each BX is kept, written as it comes.
//
// The six words of a BX are: nothing, extra bits, then f and s of two muons. A muon is kept if its
// hwPt and hwQual reach the thresholds; where none is kept zeros are written, so that a buffer never
// shows an older orbit. `hits` has a bit a BX, lowest first: a muon was kept.
//
// Muons go through `muon_*` to be stored; scouting_board.v can put the recalibration core there.
module suppressor (
    input clk,
    input reset,

    input        start,
    input        start_parity,
    input        data_valid,
    input [31:0] data,

    input [9:0] min_pt,       // smallest hwPt: 1 keeps every muon, 512 none
    input [4:0] min_quality,  // smallest hwQual

    output reg        muon_valid,
    output reg [63:0] muon,    // s, f; 0 if there is none
    output reg [13:0] muon_tag,  // parity, BX - 1, slot
    output reg [17:0] muon_etas,  // of both muons of its BX, as in `extra`: hwEta of the first lowest

    output reg        extra_valid,
    output reg [17:0] extra,      // bits 30:13 of the BX's second word: the etas of both muons in Run 3
    output reg [12:0] extra_at,   // parity, BX - 1

    output reg        hits_valid,
    output reg [31:0] hits,
    output reg [ 7:0] hits_at     // parity, (BX - 1) / 32
);
    localparam [11:0] LAST_BX = 3563;

    reg parity;
    reg [11:0] bx;
    reg [2:0] frame;
    reg [31:0] f;
    reg kept;
    reg [31:0] found;  // hits of the BX of this word of the map so far

    wire [9:0] pt = {1'b0, data[18:10]};
    wire [4:0] quality = {1'b0, data[22:19]};
    wire is_muon = pt >= min_pt && quality >= min_quality;
    wire [31:0] here = 32'd1 << bx[4:0];

    always @(posedge clk) begin
        muon_valid <= 1'b0;
        extra_valid <= 1'b0;
        hits_valid <= 1'b0;
        muon <= kept ? {data, f} : 64'd0;
        muon_tag <= {parity, bx, frame == 3'd5};
        extra <= data[30:13];
        if (frame == 3'd1) muon_etas <= data[30:13];
        extra_at <= {parity, bx};
        hits <= found;
        hits_at <= {parity, bx[11:5]};

        if (start) begin
            parity <= start_parity;
            bx <= 12'd0;
            frame <= 3'd0;
            found <= 32'd0;
        end else if (data_valid) begin
            frame <= frame == 3'd5 ? 3'd0 : frame + 3'd1;
            case (frame)
                3'd1: extra_valid <= 1'b1;
                3'd2, 3'd4: begin
                    f <= data;
                    kept <= is_muon;
                    if (is_muon) found <= found | here;
                end
                3'd3: muon_valid <= 1'b1;
                3'd5: begin
                    muon_valid <= 1'b1;
                    bx <= bx + 12'd1;
                    if (bx[4:0] == 5'd31 || bx == LAST_BX) begin
                        hits_valid <= 1'b1;
                        found <= 32'd0;
                    end
                end
                default: ;
            endcase
        end
        if (reset) {muon_valid, extra_valid, hits_valid} <= 3'd0;
    end
endmodule
