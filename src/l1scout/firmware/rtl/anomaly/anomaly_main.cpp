// Drives `anomaly` of Verilator. In: a 64-bit word with the valid bit and the bytes of in_data, a clock. Out: two
// words of 32 bits a score that comes out: number of the clock edge that brought it, score. Edge n takes in line n.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "Vanomaly.h"
#include "verilated.h"

double sc_time_stamp() { return 0; }

int main() {
  Vanomaly dut;
  constexpr size_t bytes = sizeof dut.in_data;
  std::vector<uint8_t> line(8 + bytes), nothing(8 + bytes);
  uint32_t edge = 0;
  const auto clock = [&](bool reset, const std::vector<uint8_t> &in) {
    dut.reset = reset, dut.in_valid = in[0] & 1;
    std::memcpy(&dut.in_data, in.data() + 8, bytes);
    dut.clk = 0, dut.eval();
    dut.clk = 1, dut.eval();
    if (dut.out_valid) {
      const uint32_t row[] = {edge, dut.out_score};
      std::fwrite(row, sizeof row, 1, stdout);
    }
  };
  for (int k = 0; k < 64; ++k) clock(true, nothing);
  for (; std::fread(line.data(), line.size(), 1, stdin) == 1; ++edge) clock(false, line);
  for (int k = 0; k < 128; ++k, ++edge) clock(false, nothing);
  dut.final();
  return 0;
}
