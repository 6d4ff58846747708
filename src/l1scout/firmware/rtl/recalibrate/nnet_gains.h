// Answers times what inputs look up, rounded; copied into projects of hls4ml.
#ifndef NNET_GAINS_H_
#define NNET_GAINS_H_

#include "nnet_look_up.h"

namespace nnet {

template <class data_T, class answer_T, class res_T, typename CONFIG_T>
void gains(data_T *data, answer_T answers[CONFIG_T::n_out], res_T res[CONFIG_T::n_out]) {
    #pragma HLS PIPELINE II=1
    for (int j = 0; j < CONFIG_T::n_out; j++) {
        #pragma HLS UNROLL
        ap_fixed<40, 32> answer = answers[j];
        ap_int<64> sum = ap_int<64>(ap_int<40>(answer << CONFIG_T::fraction)) * CONFIG_T::factor(data, j);
        sum += CONFIG_T::bias(j);
        res[j] = ap_int<64>(sum >> CONFIG_T::shift(j));
    }
}

} // namespace nnet

#endif
