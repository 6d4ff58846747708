// One link: finds the gap, strips padding, checks code, length and CRC of each orbit.
//
// The rule is that of l1scout.link.receive: an orbit begins after the LAST comma among the words 3 to
// 203 after the orbit signal. A stream cannot look ahead, so every comma in that window starts the
// orbit anew (`start`), and what was found since the one before is forgotten; when the window is over
// the last start stands. An orbit ends at the first comma after that, at a K word that is neither
// comma nor padding, at one data word too many, or when it is overdue: 2988 words after the next
// signal, or at the signal after that.
//
// So two orbits can be under way: the one of the last signal (now), and the one before it, whose end
// is still to come. `parity` tells them apart: it changes with each signal. Words are collected for
// one of them at a time, since a comma that starts the later one ends the earlier.
module link_receiver #(
    parameter [31:0] CRC_POLYNOMIAL = 32'h04C11DB7,
    parameter [31:0] CRC_START = 32'hFFFFFFFF,
    parameter [31:0] CRC_END = 32'hFFFFFFFF,
    parameter        CRC_REFLECTED = 1
) (
    input clk,
    input reset,

    // the line: a word a clock, if `valid`; the orbit signal comes with or before the first word after it
    input        valid,
    input [ 3:0] k,
    input [31:0] word,
    input        orbit,
    input        follows,  // with `orbit`: no signal is missing between this and the one before
    input        parity,   // of the orbit that is under way; changes in the clock of the signal

    // payload, 3564 x 6 words after each start; only the last start of an orbit counts
    output reg        start,
    output reg        start_parity,
    output reg        data_valid,
    output reg [31:0] data,

    // how each orbit ended, by its parity; stays until it is taken
    output reg [ 1:0] done,
    output reg [ 5:0] states,  // 3 bits each, see below
    output reg [15:0] begins,  // 8 bits each: place of the first word after the signal, 4..204; 104 = no skew
    input      [ 1:0] taken,

    output reg [31:0] commas  // in the gaps after complete orbits
);
    localparam [2:0] GOOD = 0, IDLE = 1, UNLOCKED = 2, CODE = 3, LENGTH = 4, CRC = 5;
    localparam [31:0] COMMA = 32'h505050BC, PADDING = 32'hF7F7F7F7;
    localparam [3:0] COMMA_K = 4'b0001, PADDING_K = 4'b1111;
    localparam [14:0] PAYLOAD_WORDS = 21384;
    localparam [11:0] WINDOW_FIRST = 3, WINDOW_LAST = 203;
    localparam [11:0] OVERDUE = 2988;  // words after the next signal that may still belong to an orbit

    wire is_comma = k == COMMA_K && word == COMMA;
    wire is_padding = k == PADDING_K && word == PADDING;
    wire is_data = k == 4'd0;

    // state, and what it will be after this clock
    reg active, active_next;    // there was an orbit signal
    reg [11:0] place, place_next;  // of the next word, counted from the signal; stops at OVERDUE
    reg begun, begun_next;      // there was a comma in the window
    reg run, run_next;          // collecting ...
    reg earlier, earlier_next;    // ... for the orbit before
    reg [14:0] count, count_next;
    reg [31:0] crc, crc_next;
    reg crc_good, crc_good_next;
    reg gap, gap_next;          // counting commas ...
    reg gap_earlier, gap_earlier_next;  // ... after the orbit before
    reg comma_counts, start_next, store;

    // what ends in this clock: of the orbit of `parity` and of the other
    reg end_now, end_earlier;
    reg [2:0] state_now, state_earlier;
    reg [11:0] at;
    reg window;
    reg [2:0] found;

    wire [31:0] crc_more;
    crc32 #(.POLYNOMIAL(CRC_POLYNOMIAL), .REFLECTED(CRC_REFLECTED)) next_crc (
        .value(crc), .word(word), .next(crc_more)
    );

    always @* begin
        active_next = active;
        begun_next = begun;
        run_next = run;
        earlier_next = earlier;
        count_next = count;
        crc_next = crc;
        crc_good_next = crc_good;
        gap_next = gap;
        gap_earlier_next = gap_earlier;
        comma_counts = 1'b0;
        start_next = 1'b0;
        store = 1'b0;
        end_now = 1'b0;
        end_earlier = 1'b0;
        state_now = LENGTH;
        state_earlier = LENGTH;
        at = place;

        if (orbit) begin
            at = 12'd0;
            active_next = 1'b1;
            // the orbit before is overdue; its parity is that of the one that begins now
            if (run && earlier) begin
                end_now = 1'b1;
                run_next = 1'b0;
            end
            // the orbit of the last signal is now the one before
            earlier_next = 1'b1;
            if (gap && (gap_earlier || !follows)) gap_next = 1'b0;
            gap_earlier_next = 1'b1;
            if (active && place <= WINDOW_LAST && !(begun && run)) begin
                end_earlier = 1'b1;  // a signal within its window
                state_earlier = begun ? CODE : UNLOCKED;
            end
            if (!follows && run && !earlier) begin
                end_earlier = 1'b1;  // nothing of it will come
                run_next = 1'b0;
            end
            begun_next = 1'b0;
        end

        window = active_next && at >= WINDOW_FIRST && at <= WINDOW_LAST;
        found = count == PAYLOAD_WORDS + 15'd1 ? (crc_good ? GOOD : CRC) : count == 0 ? IDLE : LENGTH;

        if (valid) begin
            if (gap_next) begin
                comma_counts = k == COMMA_K;
                gap_next = comma_counts && !(gap_earlier_next && at >= OVERDUE - 12'd1);
            end

            if (is_comma) begin
                if (run_next && earlier_next) begin
                    end_earlier = 1'b1;
                    state_earlier = found;
                end
                if (run_next && !earlier_next && !window) begin
                    end_now = 1'b1;
                    state_now = found;
                end
                if (run_next && (earlier_next || !window) && count == PAYLOAD_WORDS + 15'd1) begin
                    comma_counts = 1'b1;
                    gap_next = !(earlier_next && at >= OVERDUE - 12'd1);
                    gap_earlier_next = earlier_next;
                end
                run_next = window;
                if (window) begin
                    start_next = 1'b1;
                    earlier_next = 1'b0;
                    begun_next = 1'b1;
                    count_next = 15'd0;
                    crc_next = CRC_START;
                end
            end else if (run_next && is_data) begin
                if (count == PAYLOAD_WORDS + 15'd1) begin
                    end_earlier = end_earlier | earlier_next;
                    end_now = end_now | !earlier_next;
                    run_next = 1'b0;
                end else begin
                    count_next = count + 15'd1;
                    store = count < PAYLOAD_WORDS;
                    if (store) crc_next = crc_more;
                    else crc_good_next = (crc ^ CRC_END) == word;
                end
            end else if (run_next && !is_padding) begin
                if (earlier_next) begin
                    end_earlier = 1'b1;
                    state_earlier = CODE;
                end else if (!window) begin
                    end_now = 1'b1;
                    state_now = CODE;
                end  // within the window another comma may come
                run_next = 1'b0;
            end

            if (active_next && at == WINDOW_LAST && !(begun_next && run_next)) begin
                end_now = 1'b1;
                state_now = begun_next ? CODE : UNLOCKED;
            end
            if (run_next && earlier_next && at == OVERDUE - 12'd1) begin
                end_earlier = 1'b1;
                run_next = 1'b0;
            end
        end
        place_next = !valid || at == OVERDUE ? at : at + 12'd1;
    end

    always @(posedge clk) begin
        active <= active_next;
        place <= place_next;
        begun <= begun_next;
        run <= run_next;
        earlier <= earlier_next;
        count <= count_next;
        crc <= crc_next;
        crc_good <= crc_good_next;
        gap <= gap_next;
        gap_earlier <= gap_earlier_next;
        if (comma_counts) commas <= commas + 32'd1;

        start <= start_next;
        if (start_next) start_parity <= parity;
        data_valid <= store;
        data <= word;

        done <= (done & ~taken) | (parity ? {end_now, end_earlier} : {end_earlier, end_now});
        if (parity ? end_now : end_earlier) begin
            states[5:3] <= parity ? state_now : state_earlier;
        end
        if (parity ? end_earlier : end_now) begin
            states[2:0] <= parity ? state_earlier : state_now;
        end
        if (start_next) begin
            if (parity) begins[15:8] <= at[7:0] + 8'd1;
            else begins[7:0] <= at[7:0] + 8'd1;
        end
        if (reset) begin
            {active, begun, run, earlier, gap, start, data_valid} <= 7'd0;
            done <= 2'd0;
            commas <= 32'd0;
        end
    end
endmodule
