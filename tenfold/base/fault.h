// Named mistakes that the `faults` build can make, so that the tests show that they would find them.
#pragma once

#include <algorithm>
#include <string_view>

#ifdef TENFOLD_FAULTS
#include "tenfold/base/knobs.h"
#endif

namespace tenfold {

inline constexpr std::string_view kFaults[] = {
    "algebra_select_not",     // swapped negation without swapped branches
    "batch_reduce_axes",      // a reduction counts its axes without the batch
    "compile_key_options",    // the in-memory cache ignores how a graph was compiled
    "ctext_barrier",          // items do not meet before they read what others wrote
    "ctext_reduce_lane",      // a reduction across items adds a wrong one
    "ctext_run_stride",       // a run of elements begins within the one before
    "ctext_stages",           // a stage of copies is read a turn before it has come
    "disk_cache_foreign",     // a file of another key is taken
    "donate_other_elements",  // memory is shared although other elements are read than written
    "grad_accumulate",        // the second use of a value replaces the cotangent of the first
    "grad_scan_order",        // the loop of the derivative runs in the order of the loop
    "grad_sub_sign",          // the derivative of x - y by y
    "llvm_carry_order",       // carries change one after another
    "llvm_index_width",       // an index wraps at 8 bits
    "llvm_ragged_mask",       // elements beyond the edge are combined
    "llvm_scratch_overlap",   // scratch values share their memory
    "llvm_shuffle_lane",      // a reduction within a vector adds a wrong lane
    "lower_epilogue",         // what follows a loop is computed in it
    "lower_guard",            // a block at the edge is taken for a whole one
    "lower_identity",         // every reduction starts at 0
    "plan_coalesce_stride",   // axes that are not adjacent become one
    "plan_merge_path",        // a merge forgets what stands between
    "plan_online_rescale",    // a sum keeps the scale of an earlier maximum
    "plan_slice_start",       // a window begins one element late
    "plan_split_tail",        // the last part of a split reduction is lost
    "ranges_nan",             // a comparison that is false rules out NaN
    "rules_slice_steps",      // slices with steps are joined like those without
    "runtime_reuse",          // memory is given away while it is still read
};

// Must be one of kFaults, or it does not compile.
struct FaultName {
  std::string_view text;
  consteval FaultName(const char* name) : text(name) {
    if (std::ranges::find(kFaults, text) == std::ranges::end(kFaults)) throw "kFaults has no such name";
  }
};

#ifdef TENFOLD_FAULTS
inline bool fault(FaultName name) { return knob("TENFOLD_SEED_FAULT") == name.text; }
#else
constexpr bool fault(FaultName) { return false; }
#endif

}  // namespace tenfold
