// CRC-32 of a word more, combinational: the next value of the register.
//
// Parameters are those of the usual catalogues. The bytes of a word count from the lowest; within a
// byte the lowest bit comes first if REFLECTED, else the highest. The loops have constant bounds:
// what is left of them is one tree of XORs a bit.
module crc32 #(
    parameter [31:0] POLYNOMIAL = 32'h04C11DB7,  // normal notation, highest power first
    parameter        REFLECTED = 1
) (
    input      [31:0] value,
    input      [31:0] word,
    output reg [31:0] next
);
    reg [31:0] mirrored;
    integer byte_at, bit_at;

    always @* begin
        for (bit_at = 0; bit_at < 32; bit_at = bit_at + 1) mirrored[bit_at] = POLYNOMIAL[31 - bit_at];
        next = value;
        for (byte_at = 0; byte_at < 4; byte_at = byte_at + 1)
            for (bit_at = 0; bit_at < 8; bit_at = bit_at + 1)
                if (REFLECTED != 0)
                    next = (next >> 1) ^ ((next[0] ^ word[8 * byte_at + bit_at]) ? mirrored : 32'd0);
                else
                    next = (next << 1) ^ ((next[31] ^ word[8 * byte_at + 7 - bit_at]) ? POLYNOMIAL : 32'd0);
    end
endmodule
