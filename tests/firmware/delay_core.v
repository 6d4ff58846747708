// In the place of the recalibration core: gives back what it gets, 40 clocks later, with in_eta in the place
// of the word's hwEta: in Run 2 they are the same.
module recalibrate #(
    parameter TAG_BITS = 48
) (
    input clk,
    input reset,
    input in_valid,
    input [TAG_BITS-1:0] in_tag,
    input [63:0] in_muon,
    input [8:0] in_eta,
    output out_valid,
    output [TAG_BITS-1:0] out_tag,
    output [63:0] out_muon,
    output [63:0] out_recalibrated
);
    reg [TAG_BITS+73:0] line[0:39];
    wire [8:0] eta;
    integer n;
    always @(posedge clk) begin
        line[0] <= {in_valid && !reset, in_tag, in_eta, in_muon};
        for (n = 1; n < 40; n = n + 1) line[n] <= line[n-1];
    end
    assign {out_valid, out_tag, eta, out_muon} = line[39];
    assign out_recalibrated = {out_muon[63:62], eta, out_muon[52:0]};
endmodule
