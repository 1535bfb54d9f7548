// The three parts of a CartPole step as functions of their own, straight-line
// code for bench/mix.py (llvm-mca).
#include "cartpole.h"

#if TENFOLD_HAND_AVX512
extern "C" {
void hand_mix_step(hand::Lanes* s, const hand::I* word, hand::Flags* flags) {
  hand::Lanes next = *s;
  *flags = hand::step(next, hand::force_of(*word));
  *s = next;
}
void hand_mix_block(const hand::Keys* keys, uint32_t n, hand::Words* words) {
  const hand::Bits* const one[] = {&keys->actions};
  hand::Words out[1];
  hand::Bits::blocks(one, n, out);
  *words = out[0];
}
void hand_mix_reset(hand::Lanes* s, hand::M done, const hand::Keys* keys, uint32_t n) {
  hand::Lanes next = *s;
  hand::reset<1>({&next}, {done}, {keys}, n);
  *s = next;
}
}
#endif
