// Anomaly score of a crossing: one a clock in, one a clock out, never a wait.
// Made by @made@
//
// in_valid   the inputs beside it are a crossing
// in_data    8 bits an input, two's complement, the first lowest: as the model's card scales objects
// out_score  16 times the sum of the squared latent means, rounded down, at most 262143: with clock edge
//            CORE_STAGES + 4 if the one that takes the crossing in is the first
// reset      synchronous; clears the valid bits
`timescale 1ns / 1ps
module anomaly (
    input  wire                   clk,
    input  wire                   reset,
    input  wire                   in_valid,
    input  wire [@in_bits@-1:0] in_data,
    output reg                    out_valid,
    output reg  [           17:0] out_score
);
  localparam CORE_STAGES = @stages@;
  localparam CORE = CORE_STAGES + 1;  // clock edges from in_data to the core's answer
  localparam MEANS = @means@;
  localparam WIDTH = @width@;  // bits of a mean, the sign among them
  localparam SUM = 2 * WIDTH + 4;
  localparam SHIFT = @shift@;  // of the sum of squares to sixteenths

  wire [@core_bits@-1:0] asked = {@asked@};
  wire [@answer_bits@-1:0] answer;
  anomaly_core core (
      .clk(clk),
      .model_inp(asked),
      .model_out(answer)
  );
  wire signed [WIDTH-1:0] mean[0:MEANS-1];
@assignments@

  reg [CORE+1:0] valid;
  reg [2*WIDTH-1:0] square[0:MEANS-1];
  reg [SUM-1:0] total;
  reg [SUM-1:0] sum;
  wire [SUM-1:0] score = total >> SHIFT;
  integer k;
  initial valid = 0;
  initial out_valid = 1'b0;
  always @(*) begin
    sum = 0;
    for (k = 0; k < MEANS; k = k + 1) sum = sum + {{4{1'b0}}, square[k]};
  end
  integer n;
  always @(posedge clk) begin
    valid <= reset ? {(CORE + 2) {1'b0}} : {valid[CORE:0], in_valid};
    for (n = 0; n < MEANS; n = n + 1) square[n] <= mean[n] * mean[n];
    total <= sum;
    out_score <= |(score >> 18) ? 18'h3ffff : score[17:0];
    out_valid <= reset ? 1'b0 : valid[CORE+1];
  end
endmodule
