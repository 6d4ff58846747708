// Streaming recalibration of GMT muons: one a clock in, one a clock out, never a wait.
//
// in_valid    the inputs beside it are a muon
// in_tag      carried along unchanged: orbit, bunch crossing and slot, or whatever is wanted
// in_muon     64-bit muon of the Global Muon Trigger; 2017/18 and Run 3 share the fields that are used
// in_eta      its hwEta, at the second muon station: in_muon[61:53] in 2017/18; Run 3 sends it beside the muon
// out_*       the same, and out_recalibrated ("Recalibrated muon" in the README beside this file), with clock
//             edge CORE_STAGES + 3 if the one that takes the muon in is the first. A muon outside the domain,
//             or whose charge is needed but not valid, keeps the trigger's own values at the vertex, isRecal 0.
// reset       synchronous; clears the valid bits, so that nothing comes out of what was on its way. Data
//             registers have none: nobody looks at them without a valid bit.
//
// `recalibrate.vh` holds what depends on the model: the core's inputs, widths and stages, `in_domain`, and whether
// corrections are subtracted from phi and eta at the vertex or, STATION_2, at the second muon station.
`timescale 1ns / 1ps
module recalibrate #(
    parameter TAG_BITS = 48
) (
    input  wire                clk,
    input  wire                reset,
    input  wire                in_valid,
    input  wire [TAG_BITS-1:0] in_tag,
    input  wire [        63:0] in_muon,
    input  wire [         8:0] in_eta,
    output reg                 out_valid,
    output reg  [TAG_BITS-1:0] out_tag,
    output reg  [        63:0] out_muon,
    output reg  [        63:0] out_recalibrated
);
  `include "recalibrate.vh"
  localparam CORE = CORE_STAGES + 1;  // clock edges from in_muon to the core's answer
  localparam signed [15:0] TURN = 16'sd9216;  // 576 * 16 steps of phi

  // The core takes hardware integers as they are: `asked` is made of bits of in_muon and in_eta.
  wire [OUT_PHI+OUT_ETA+OUT_PT-1:0] answer;
  recalibrate_core core (
      .clk(clk),
      .model_inp(asked),
      .model_out(answer)
  );

  // Muon and tag wait for it.
  reg [TAG_BITS+72:0] line[0:CORE-1];
  reg [CORE-1:0] valid;
  integer n;
  initial valid = 0;
  always @(posedge clk) begin
    line[0] <= {in_tag, in_eta, in_muon};
    for (n = 1; n < CORE; n = n + 1) line[n] <= line[n-1];
    valid <= reset ? {CORE{1'b0}} : {valid[CORE-2:0], in_valid};
  end
  wire [TAG_BITS-1:0] tag = line[CORE-1][73+:TAG_BITS];
  wire [8:0] hw_eta = line[CORE-1][72:64];
  wire [63:0] muon = line[CORE-1][63:0];

  // May the network be asked for this muon? What is corrected is its phi and eta at the vertex or at the station.
  wire [9:0] phi_code = STATION_2 ? muon[52:43] : muon[9:0];
  wire [8:0] eta_code = STATION_2 ? hw_eta : muon[31:23];
  wire signed [15:0] phi = {6'b0, phi_code};
  wire signed [15:0] pt = {7'b0, muon[18:10]};
  wire signed [15:0] eta = {{7{eta_code[8]}}, eta_code};
  wire known = pt != 16'sd0 && in_domain(muon, hw_eta);

  // First edge after the core: trigger minus correction, in steps.
  wire [OUT_PHI-1:0] dphi = answer[0+:OUT_PHI];
  wire [OUT_ETA-1:0] deta = answer[OUT_PHI+:OUT_ETA];
  wire [OUT_PT-1:0] dpt = answer[OUT_PHI+OUT_ETA+:OUT_PT];
  reg signed [15:0] new_phi;
  reg signed [15:0] new_eta;
  reg signed [15:0] new_pt;
  reg ask, valid_1;
  reg [TAG_BITS-1:0] tag_1;
  reg [63:0] muon_1;
  initial valid_1 = 1'b0;
  always @(posedge clk) begin
    new_phi <= (phi <<< 4) - {{16 - OUT_PHI{SIGN_PHI & dphi[OUT_PHI-1]}}, dphi};
    new_eta <= (eta <<< 5) - {{16 - OUT_ETA{SIGN_ETA & deta[OUT_ETA-1]}}, deta};
    new_pt  <= (pt <<< 5) - {{16 - OUT_PT{SIGN_PT & dpt[OUT_PT-1]}}, dpt};
    ask     <= known;
    valid_1 <= reset ? 1'b0 : valid[CORE-1];
    tag_1   <= tag;
    muon_1  <= muon;
  end

  // Second: phi back into a turn, from up to two away; a pT that is not positive, or an eta beyond its field,
  // is no answer. A pT beyond its field is the largest one, as in the GMT's own word.
  wire signed [15:0] once = new_phi < 16'sd0 ? new_phi + TURN : new_phi >= TURN ? new_phi - TURN : new_phi;
  wire signed [15:0] twice = once < 16'sd0 ? once + TURN : once >= TURN ? once - TURN : once;
  wire [13:0] phi_in_turn = twice[13:0];
  wire usable = new_pt > 16'sd32 && new_eta >= -16'sd8192 && new_eta < 16'sd8192;
  wire recal = ask && usable;
  wire [13:0] phi_out = recal ? phi_in_turn : {muon_1[9:0], 4'b0};
  wire [13:0] eta_out = recal ? new_eta[13:0] : {muon_1[31:23], 5'b0};
  wire [13:0] pt_in_field = new_pt[14] ? 14'd16383 : new_pt[13:0];
  wire [13:0] pt_out = recal ? pt_in_field : {muon_1[18:10], 5'b0};
  initial out_valid = 1'b0;
  always @(posedge clk) begin
    out_valid <= reset ? 1'b0 : valid_1;
    out_tag <= tag_1;
    out_muon <= muon_1;
    // reserved, isRecal, tfMuonIndex, hwChargeValid, hwCharge, hwIso, hwQual, pT, eta, phi
    out_recalibrated <= {
      6'b0, recal, muon_1[42:36], muon_1[35], muon_1[34], muon_1[33:32], muon_1[22:19], pt_out, eta_out, phi_out
    };
  end
endmodule
