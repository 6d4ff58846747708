// Memory of one link for two orbits, by parity: one is written while the other is read.
//
// All three parts are simple dual-port memories with a registered read, so that they become block RAM.
// Addresses are powers of two wide: 28 of 32 blocks' worth are used, and no multiplexers are needed.
module orbit_buffer #(
    parameter EXTRA = 1  // 0: no memory for the extra bits (Run 2)
) (
    input clk,
    input [1:0] writable,  // by parity: writes to the other are ignored

    input        muon_valid,
    input [63:0] muon,
    input [13:0] muon_at,
    input        extra_valid,
    input [17:0] extra,
    input [12:0] extra_at,
    input        hits_valid,
    input [31:0] hits,
    input [ 7:0] hits_at,

    input             read,
    input      [13:0] read_at,  // parity, BX - 1, slot
    output reg [63:0] read_muon,
    output     [17:0] read_extra,
    input      [ 7:0] read_hits_at,
    output reg [31:0] read_hits
);
    (* ram_style = "block" *) reg [63:0] muons[0:16383];
    (* ram_style = "block" *) reg [31:0] maps[0:255];

    always @(posedge clk) begin
        if (muon_valid && writable[muon_at[13]]) muons[muon_at] <= muon;
        if (read) read_muon <= muons[read_at];
    end

    always @(posedge clk) begin
        if (hits_valid && writable[hits_at[7]]) maps[hits_at] <= hits;
        read_hits <= maps[read_hits_at];
    end

    generate
        if (EXTRA != 0) begin : with_extra
            (* ram_style = "block" *) reg [17:0] extras[0:8191];
            reg [17:0] from_memory;
            always @(posedge clk) begin
                if (extra_valid && writable[extra_at[12]]) extras[extra_at] <= extra;
                if (read) from_memory <= extras[read_at[13:1]];
            end
            assign read_extra = from_memory;
        end else begin : without_extra
            assign read_extra = 18'd0;
        end
    endgenerate
endmodule
