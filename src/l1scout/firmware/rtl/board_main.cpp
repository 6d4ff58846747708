// Drives the board's data path: link captures on standard input, packets to a file, and on standard
// output a line an orbit (what became of it, and the clocks) and the counters. For firmware/board.py.
//
// A clock is a word of each link. A link that has fewer words than another between two orbit signals
// has none in the last clocks, so that the signal comes to all links in one clock.
#include <algorithm>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <set>
#include <string>
#include <vector>

#include "Vscouting_board.h"

static const int LINKS = 8, PLACES = 205, MIN_CLOCKS = 16;

struct Orbit {
    uint64_t signal, place[LINKS][PLACES];  // clocks: of the orbit signal, of each link's first words
    uint64_t number, what, good, first_word, last_word, decided, first_row, last_row, rows;
};

struct Piece {
    int64_t first, orbits;
    std::vector<int64_t> ticks;
    std::vector<uint32_t> words;
    std::vector<uint8_t> k;  // of every word
    std::vector<size_t> start;
};

static Vscouting_board *top;
static FILE *packets;
static uint64_t now, asked, two_buffers, packet_count, byte_count;
static std::set<uint64_t> busy;           // numbers of the questions that are answered with no
static uint64_t stall = 0, stall_of = 1;  // the sink is not ready for rows in so many clocks of so many
static uint64_t last_data[LINKS], last_word[LINKS];
static std::deque<Orbit> waiting, writing;

static void fail(const char *what) {
    fprintf(stderr, "error: %s\n", what);
    exit(1);
}

static void print(const Orbit &o) {
    printf("orbit %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
           " %" PRIu64 " %" PRIu64 "\n",
           o.number, o.what, o.good, o.signal, o.first_word, o.last_word, o.decided, o.first_row, o.last_row, o.rows);
}

static void decide() {
    Orbit o = waiting.front();
    waiting.pop_front();
    o.number = top->decided_number, o.what = top->decided_what, o.good = top->decided_good, o.decided = now;
    for (int l = 0; l < LINKS; l++)
        if (o.good >> l & 1) {
            int begin = top->decided_begins >> 8 * l & 0xFF;
            o.first_word = std::min(o.first_word, o.place[l][begin]);
            o.last_word = std::max(o.last_word, last_word[l]);
        }
    if (o.what == 3) writing.push_back(o);
    else print(o);
}

static void step() {
    static bool written = false;
    top->packet_ready = !busy.count(asked + 1);
    top->out_ready = now % stall_of >= stall;
    top->clk = 0;
    top->eval();
    asked += top->packet_ask;
    two_buffers += top->buffers_busy == 3;
    if (top->decided && !waiting.empty()) decide();
    bool taken = top->out_valid && top->out_ready;
    if (taken) {
        fwrite(&top->out_data[0], 4, LINKS, packets);
        byte_count += 4 * LINKS;
        packet_count += top->out_last;
        if (!writing.empty()) {
            Orbit &o = writing.front();
            if (o.rows++ == 0) o.first_row = now;
            o.last_row = now;
        }
    }
    written = written || (top->written && !writing.empty());
    if (written && (taken || !top->out_valid)) {
        print(writing.front());
        writing.pop_front();
        written = false;
    }
    top->clk = 1;
    top->eval();
    top->orbit = 0;
    now++;
}

static void take(void *to, size_t size, const char *what) {
    if (size && fread(to, 1, size, stdin) != size) fail(what);
}

static bool read_piece(Piece &p) {
    char magic[8];
    int64_t head[3 + LINKS], all_k = 0;
    if (fread(magic, 1, 8, stdin) != 8) return false;
    if (memcmp(magic, "L1LINKS2", 8)) fail("no link capture");
    take(head, sizeof head, "capture cut short");
    p.first = head[0], p.orbits = head[1];
    top->marks = head[2] == 1 ? 2 : head[2] == 0 ? 4 : 0;
    for (int l = 0; l < LINKS; l++) all_k += head[3 + l];
    p.ticks.resize(LINKS * (p.orbits + 1));
    take(p.ticks.data(), 8 * p.ticks.size(), "capture cut short");
    std::vector<uint32_t> k_at(all_k);
    std::vector<uint8_t> k_mask(all_k);
    take(k_at.data(), 4 * all_k, "capture cut short");
    take(k_mask.data(), all_k, "capture cut short");
    p.start.assign(1, 0);
    for (int l = 0; l < LINKS; l++) p.start.push_back(p.start[l] + p.ticks[(l + 1) * (p.orbits + 1) - 1]);
    p.words.resize(p.start[LINKS]);
    take(p.words.data(), 4 * p.words.size(), "capture cut short");
    p.k.assign(p.words.size(), 0);
    for (int l = 0, i = 0; l < LINKS; l++)
        for (int j = 0; j < head[3 + l]; j++, i++) p.k[p.start[l] + k_at[i]] = k_mask[i];
    return true;
}

static void signal(uint32_t number) {
    top->orbit = 1;
    top->orbit_number = number;
}

static void send(const Piece &p, int64_t n) {
    waiting.emplace_back();
    Orbit &o = waiting.back();
    memset(&o, 0, sizeof o);
    o.signal = now, o.first_word = UINT64_MAX;
    size_t at[LINKS], size[LINKS], most = MIN_CLOCKS;
    for (int l = 0; l < LINKS; l++) {
        const int64_t *t = &p.ticks[l * (p.orbits + 1) + n];
        at[l] = p.start[l] + t[0], size[l] = t[1] - t[0], most = std::max(most, size[l]);
    }
    signal(p.first + n);
    for (size_t i = 0; i < most; i++) {
        uint32_t valid = 0, k = 0;
        for (int l = 0; l < LINKS; l++) {
            if (i >= size[l]) continue;
            valid |= 1 << l;
            k |= (uint32_t)p.k[at[l] + i] << 4 * l;
            top->link_words[l] = p.words[at[l] + i];
            if (!p.k[at[l] + i]) last_data[l] = now;
            else if (p.k[at[l] + i] == 1) last_word[l] = last_data[l];  // of the orbit that ends here
            if (i < PLACES && !waiting.empty() && waiting.back().signal == now - i) waiting.back().place[l][i] = now;
        }
        top->link_valid = valid;
        top->link_k = k;
        step();
    }
    top->link_valid = 0;
}

static void counters(const char *name, const uint32_t *values, int count) {
    printf("%s", name);
    for (int i = 0; i < count; i++) printf(" %" PRIu32, values[i]);
    printf("\n");
}

static std::vector<uint64_t> numbers(const char *text) {
    std::vector<uint64_t> all;
    for (char *end; *text; text = *end ? end + 1 : end) all.push_back(strtoull(text, &end, 0));
    return all;
}

int main(int argc, char **argv) {
    if (argc != 8) fail("packets min_pt min_quality intermediate orbits_per_packet busy stall");
    top = new Vscouting_board;
    packets = fopen(argv[1], "wb");
    if (!packets) fail("the file for the packets cannot be written");
    auto pt = numbers(argv[2]), quality = numbers(argv[3]), busy_at = numbers(argv[6]), stalls = numbers(argv[7]);
    for (int l = 0; l < LINKS; l++) {
        for (int b = 0; b < 10; b++) top->min_pt[(10 * l + b) / 32] |= (pt[l] >> b & 1) << (10 * l + b) % 32;
        top->min_quality |= quality[l] << 5 * l;
    }
    top->intermediate = numbers(argv[4])[0];
    top->orbits_per_packet = numbers(argv[5])[0];
    busy.insert(busy_at.begin(), busy_at.end());
    stall = stalls[0], stall_of = stalls[1];

    top->reset = 1;
    step();
    step();
    top->reset = 0;
    now = two_buffers = 0;
    Piece p;
    uint32_t after = 0;
    while (read_piece(p)) {
        for (int64_t n = 0; n < p.orbits; n++) send(p, n);
        after = p.first + p.orbits;
    }
    uint64_t sent = now;
    // a signal that follows no other: what is under way ends here
    signal(after + 1);
    for (int i = 0; i < MIN_CLOCKS; i++) step();
    top->close = 1;
    for (uint64_t quiet = 0; quiet < MIN_CLOCKS; quiet = top->quiet && !top->held ? quiet + 1 : 0) step();

    const uint64_t all[] = {top->orbits, top->delivered, top->flagged, top->idle, top->lost, top->dropped, top->blocks,
                            packet_count, byte_count};
    const char *names[] = {"orbits", "delivered", "flagged", "idle", "lost", "dropped", "blocks", "packets", "bytes"};
    for (int i = 0; i < 9; i++) printf("%s %" PRIu64 "\n", names[i], all[i]);
    counters("states", &top->states_count[0], 6 * LINKS);
    counters("realigns", &top->realigns[0], LINKS);
    counters("commas", &top->commas[0], LINKS);
    printf("clocks %" PRIu64 "\ntwo_buffers %" PRIu64 "\n", sent, two_buffers);
    if (fclose(packets)) fail("the file for the packets cannot be written");
    top->final();
    return 0;
}
