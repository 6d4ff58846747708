// Drives `muon_trigger` of Verilator. In: per clock 17 words of 32 bits (valid, 16 words of muons). Out: 16 words of 32
// bits of each decision. Clocks without a valid crossing must change nothing.
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "Vmuon_trigger.h"
#include "verilated.h"

double sc_time_stamp() { return 0; }

int main() {
  Vmuon_trigger dut;
  uint32_t in[17], out[16];
  const auto clock = [&](bool reset) {
    dut.reset = reset, dut.valid = in[0] & 1;
    for (int k = 0; k < 16; ++k) dut.muons[k] = in[k + 1];
    dut.clk = 0, dut.eval();
    dut.clk = 1, dut.eval();
    if (!dut.decided) return;
    for (int k = 0; k < 16; ++k) out[k] = dut.fired[k];
    std::fwrite(out, sizeof out, 1, stdout);
  };
  std::memset(in, 0xFF, sizeof in);
  for (int k = 0; k < 8; ++k) clock(true);  // what is there in a reset leaves nothing behind
  while (std::fread(in, sizeof in, 1, stdin) == 1) clock(false);
  dut.final();
  return 0;
}
