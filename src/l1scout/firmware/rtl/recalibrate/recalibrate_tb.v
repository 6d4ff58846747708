// Test bench of `recalibrate`: muons of vectors.hex (or +vectors=FILE) in, with the gaps that it says; every
// word that comes out is compared with the one that it should be. Prints PASS or FAIL, and the latency in
// clock edges.
//
// A line of vectors.hex is valid (4 bits), tag (48), hwEta (12), muon (64), recalibrated muon (64).
`timescale 1ns / 1ps
module recalibrate_tb;
  parameter LINES = 1;
  reg clk = 1'b0, reset = 1'b1, in_valid = 1'b1;
  reg  [ 47:0] in_tag = 0;
  reg  [ 63:0] in_muon = 0;
  reg  [  8:0] in_eta = 0;
  wire         out_valid;
  wire [ 47:0] out_tag;
  wire [63:0] out_muon, out_recalibrated;
  reg [191:0] vectors[0:LINES-1];
  integer edges = 0, sent = 0, seen = 0, muons = 0, wrong = 0, first = -1, latency = -1, quiet = 0;

  recalibrate dut (
      .clk(clk),
      .reset(reset),
      .in_valid(in_valid),
      .in_tag(in_tag),
      .in_muon(in_muon),
      .in_eta(in_eta),
      .out_valid(out_valid),
      .out_tag(out_tag),
      .out_muon(out_muon),
      .out_recalibrated(out_recalibrated)
  );

  always #2 clk = !clk;
  reg [8191:0] file;
  initial begin
    if (!$value$plusargs("vectors=%s", file)) file = "vectors.hex";
    $readmemh(file, vectors);
  end

  // Inputs change after an edge, outputs are looked at before the next one.
  always @(posedge clk) begin
    edges <= edges + 1;
    if (edges == 7) reset <= #1 1'b0;
    if (edges >= 7 && sent < LINES) begin
      in_valid <= #1 vectors[sent][188];
      in_tag <= #1 vectors[sent][187:140];
      in_eta <= #1 vectors[sent][136:128];
      in_muon <= #1 vectors[sent][127:64];
      if (first < 0 && vectors[sent][188]) first = edges + 1;  // the edge that takes it in
      sent = sent + 1;
    end else if (edges >= 7) begin
      in_valid <= #1 1'b0;
      quiet = quiet + 1;
    end
    if (out_valid) begin
      if (latency < 0) latency = edges - first;  // it came with the edge before this one
      while (seen < LINES && !vectors[seen][188]) seen = seen + 1;
      if (seen == LINES) begin
        $display("FAIL: more muons came out than went in");
        $finish;
      end
      if ({out_tag, out_muon, out_recalibrated} !== {vectors[seen][187:140], vectors[seen][127:0]}) begin
        if (wrong < 5)
          $display("muon %0d: tag %h, muon %h, recalibrated %h, not %h", muons, out_tag, out_muon,
                   out_recalibrated, vectors[seen][63:0]);
        wrong = wrong + 1;
      end
      seen  = seen + 1;
      muons = muons + 1;
    end
    if (quiet == 64) begin
      while (seen < LINES && !vectors[seen][188]) seen = seen + 1;
      if (seen < LINES) $display("FAIL: muons are missing");
      else if (wrong != 0) $display("FAIL: %0d of %0d muons differ", wrong, muons);
      else $display("PASS: %0d muons, latency %0d clock edges", muons, latency);
      $finish;
    end
  end
endmodule
