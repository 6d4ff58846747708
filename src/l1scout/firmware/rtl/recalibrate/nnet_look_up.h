// A vector for each value of an input of the network, or of some together; copied into projects of hls4ml.
#ifndef NNET_LOOK_UP_H_
#define NNET_LOOK_UP_H_

namespace nnet {

// Number of an input's value, 0 to values - 1: the input times 2**shift is an integer, plus `first`.
template <class data_T> int look_up_code(data_T input, int shift, int first, int values) {
    #pragma HLS INLINE
    ap_fixed<32, 24> x = input;
    int code = ap_int<32>(x << shift) + first;
    return code < 0 ? 0 : code >= values ? values - 1 : code;
}

template <class data_T, class res_T, typename CONFIG_T>
void look_up(data_T data[CONFIG_T::n_in], res_T res[CONFIG_T::n_out],
             typename CONFIG_T::table_t table[CONFIG_T::values * CONFIG_T::n_out]) {
    #pragma HLS PIPELINE II=1
    #pragma HLS ARRAY_PARTITION variable=table cyclic factor=CONFIG_T::n_out
    int row = CONFIG_T::row(data);
    for (int j = 0; j < CONFIG_T::n_out; j++) {
        #pragma HLS UNROLL
        res[j] = table[row * CONFIG_T::n_out + j];
    }
}

} // namespace nnet

#endif
