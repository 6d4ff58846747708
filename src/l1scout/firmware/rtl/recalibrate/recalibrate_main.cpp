// Drives `recalibrate` of Verilator. In: 4 words of 64 bits a clock (valid, tag, hwEta, muon). Out: 4 words a muon that
// comes out (number of the clock edge that brought it, tag, muon, recalibrated). Edge n takes in line n.
#include <cstdint>
#include <cstdio>
#include <vector>

#include "Vrecalibrate.h"
#include "verilated.h"

double sc_time_stamp() { return 0; }

int main() {
  Vrecalibrate dut;
  std::vector<uint64_t> in(4 << 12), out;
  uint64_t edge = 0;
  int quiet = 0;
  const auto clock = [&](bool reset, uint64_t valid, uint64_t tag, uint64_t eta, uint64_t muon) {
    dut.reset = reset, dut.in_valid = valid & 1, dut.in_tag = tag, dut.in_eta = eta, dut.in_muon = muon;
    dut.clk = 0, dut.eval();
    dut.clk = 1, dut.eval();
    if (dut.out_valid) {
      const uint64_t row[] = {edge, dut.out_tag, dut.out_muon, dut.out_recalibrated};
      std::fwrite(row, sizeof row, 1, stdout);
    }
  };
  for (int k = 0; k < 64; ++k) clock(true, 1, 0, 0, 0);  // nothing may come of what is there in a reset
  for (size_t n; (n = std::fread(in.data(), 32, 1 << 12, stdin)) > 0;)
    for (size_t k = 0; k < n; ++k, ++edge) clock(false, in[4 * k], in[4 * k + 1], in[4 * k + 2], in[4 * k + 3]);
  for (; quiet < 64; ++quiet, ++edge) clock(false, 0, 0, 0, 0);
  dut.final();
  return 0;
}
