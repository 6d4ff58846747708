// Icarus: the board's data path, fed from clocks.hex (a line a clock: link_valid, link_k, link_words,
// orbit, orbit_number), prints the rows of the packets. For tests/firmware/test_board_rtl.py.
`timescale 1ns / 1ps
module board_tb #(
    parameter RUN3 = 1,
    parameter RECALIBRATE = 0,
    parameter [31:0] CRC_POLYNOMIAL = 32'h04C11DB7,
    parameter [31:0] CRC_START = 32'hFFFFFFFF,
    parameter [31:0] CRC_END = 32'hFFFFFFFF,
    parameter CRC_REFLECTED = 1
);
    reg clk = 0, reset = 1, orbit = 0, close = 0;
    reg [7:0] valid = 0;
    reg [31:0] k, number;
    reg [255:0] words;
    wire out_valid, out_last, quiet;
    wire [255:0] out_data;
    wire [6:0] held;
    integer file, got, calm;

    scouting_board #(
        .RUN3(RUN3), .RECALIBRATE(RECALIBRATE), .CRC_POLYNOMIAL(CRC_POLYNOMIAL), .CRC_START(CRC_START),
        .CRC_END(CRC_END), .CRC_REFLECTED(CRC_REFLECTED)
    ) board (
        .clk(clk), .reset(reset), .link_valid(valid), .link_k(k), .link_words(words), .orbit(orbit),
        .orbit_number(number), .min_pt({8{10'd1}}), .min_quality(40'd0), .intermediate(8'hF0),
        .orbits_per_packet(7'd20), .marks(3'd2), .packet_ready(1'b1), .out_valid(out_valid), .out_ready(1'b1),
        .out_data(out_data), .out_last(out_last), .close(close), .quiet(quiet), .held(held)
    );

    task step;
        begin
            #1 if (out_valid) $display("%h", out_data);
            #1 clk = 1;
            #2 clk = 0;
        end
    endtask

    initial begin
        step;
        step;
        reset = 0;
        file = $fopen("clocks.hex", "r");
        got = 5;
        while (got == 5) begin
            got = $fscanf(file, "%h %h %h %h %h", valid, k, words, orbit, number);
            if (got == 5) step;
        end
        valid = 0;
        orbit = 1;  // a signal that follows no other
        step;
        orbit = 0;
        repeat (16) step;
        close = 1;
        calm = 0;
        while (calm < 16) begin
            step;
            calm = quiet && held == 0 ? calm + 1 : 0;
        end
        $finish;
    end
endmodule
