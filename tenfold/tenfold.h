// The public header: tensors, functions on them, and functions of functions. Everything is in tenfold::lang.
//
//     #include <tenfold/tenfold.h>
//     namespace tn = tenfold::lang;
//
//     tn::Tensor softmax(const tn::Tensor& x) {
//         const tn::Tensor e = tn::exp(x - tn::max(x, {{-1}}, true));
//         return e / tn::sum(e, {{-1}}, true);
//     }
//     auto fast = tn::jit(softmax);
//     tn::Tensor y = fast(x);
//     std::cout << tenfold::compile::explain(fast.compiled(x)->executable()).str();
//
// Errors are exceptions (tenfold::UserError, InternalError, DeviceError) whose text names the line of the
// call.
#pragma once

#include "tenfold/compile/explain.h"
#include "tenfold/env/rollout.h"
#include "tenfold/generated/ops.h"
#include "tenfold/lang/contract.h"
#include "tenfold/lang/function.h"
#include "tenfold/lang/jit.h"
#include "tenfold/lang/random.h"
#include "tenfold/lang/tensor.h"
#include "tenfold/lang/transform.h"
#include "tenfold/lang/window.h"
#include "tenfold/runtime/program.h"
