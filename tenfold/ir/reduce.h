// What a reduction combines with, and what it starts from: asked by property, so that no pass names a
// reduction.
#pragma once

#include "tenfold/ir/prim.h"

namespace tenfold {

const Prim& combine_of(
    const Prim& reduce);  // the map record of "combine:<name>"; InternalError if there is none
Scalar identity(const Prim& combine,
                Dtype);  // x combined with it is x (-0.0 excepted); accepts the reduction too

// The lowest and the highest value of a dtype (infinities where there are any).
Scalar lowest(Dtype);
Scalar highest(Dtype);

}  // namespace tenfold
