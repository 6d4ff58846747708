// Test bench of `muon_trigger`: a clock per line of a file (valid, muons; hexadecimal), a line per decision.
module muon_trigger_tb;
    parameter CLOCKS = 1;
    reg clk = 0, reset = 1, valid = 0;
    reg [511:0] muons = ~512'd0;  // in the reset, of which nothing may come
    wire decided;
    wire [511:0] fired;
    reg [515:0] lines [0:CLOCKS-1];
    reg [8*1024-1:0] path;
    integer k;
    muon_trigger dut (.clk(clk), .reset(reset), .valid(valid), .muons(muons), .decided(decided), .fired(fired));
    initial begin
        if (!$value$plusargs("crossings=%s", path)) $finish;
        $readmemh(path, lines);
        for (k = 0; k < 4; k = k + 1) begin
            #1 clk = 1;
            #1 clk = 0;
        end
        reset = 0;
        for (k = 0; k < CLOCKS; k = k + 1) begin
            valid = lines[k][512];
            muons = lines[k][511:0];
            #1 clk = 1;
            #1 clk = 0;
            if (decided) $display("%h", fired);
        end
        $finish;
    end
endmodule
