// Map records as vector instructions. A register holds one value of `lanes` elements: a scalar type where
// lanes is 1.
//   bool        i1
//   f16, bf16   float, always exactly a value of the narrow type
//   complex     two registers
#pragma once

#include <map>
#include <span>
#include <tuple>

#include <llvm/IR/IRBuilder.h>

#include "tenfold/ir/prim.h"
#include "tenfold/target/cpu.h"

namespace tenfold::cpu {

struct Reg {
  llvm::Value* re = nullptr;
  llvm::Value* im = nullptr;
  explicit operator bool() const { return re != nullptr; }
};

int lanes_of(const llvm::Value*);

class Math {
 public:
  Math(llvm::IRBuilder<>& builder, const Isa& isa) : b(builder), isa(isa) {}

  llvm::Type* type(Dtype, int lanes);         // in a register (one half of a complex one)
  llvm::Type* memory_type(Dtype, int lanes);  // in memory, same
  llvm::Value* from_memory(llvm::Value*, Dtype);
  llvm::Value* to_memory(llvm::Value*, Dtype);

  Reg constant(const Scalar&, Dtype, int lanes);
  Reg zero(Dtype, int lanes);
  Reg identity(const Prim& combine, Dtype, int lanes);
  Reg splat(Reg, int lanes);
  Reg select(llvm::Value* mask, Reg then, Reg otherwise);
  Reg fma(Dtype, Reg, Reg, Reg);  // one rounding
  Reg map(const Prim&, std::span<const Reg>, std::span<const Dtype>, Dtype result);
  Reg combine(const Prim& prim, Dtype dtype, Reg x, Reg y);  // unrounded for f16 and bf16
  // minimum or maximum of three floats, cheaper than twice that of two; NaN if any is.
  llvm::Value* extreme_of(llvm::Value* running, llvm::Value* x, llvm::Value* y, bool larger);
  Reg convert(Reg, Dtype from, Dtype to);
  Reg rounded(Reg, Dtype);  // to f16 or bf16; others as they are
  // Low or high half of the products of u32: both halves of one product share their multiplications.
  llvm::Value* half_product(llvm::Value*, llvm::Value*, bool high);
  llvm::Value* any(llvm::Value* mask);  // i1: does a lane hold

  llvm::IRBuilder<>& b;
  const Isa& isa;

 private:
  using Value = llvm::Value;
  llvm::Type* vec(llvm::Type*, int lanes);
  Value* real(const llvm::Value* like, double);
  Value* whole(const llvm::Value* like, int64_t);
  llvm::Type* same_lanes(llvm::Type* element, const Value* like);
  Value* bits(Value*);  // float as integer of its width
  Value* round_f16(Value*);
  Value* round_bf16(Value*);
  Value* odd_f32(Value*);  // f64 to f32 so that a second rounding is right
  Value* fma_real(Value*, Value*, Value*);
  Value* fma_by_f64(Value*, Value*, Value*);
  Value* half_lanes(bool odd);
  Value* extreme(Value*, Value*, Dtype, bool larger);
  Value* divide_int(Value*, Value*, bool is_signed);
  Value* rounding(std::string_view which, Value*);
  Value* to_int(Value*, Dtype);
  Value* compare(std::string_view which, Value*, Value*, Dtype);
  Value* modulus(Reg, Dtype);
  Reg bitcast(Reg, Dtype from, Dtype to);
  Reg arithmetic(std::string_view name, std::span<const Reg>, Dtype);
  struct Products {
    Value *even, *odd;  // i64 products of every second lane
  };
  std::map<std::tuple<llvm::BasicBlock*, Value*, Value*>, Products> products_;
  std::map<std::pair<llvm::Function*, bool>, Value*> half_lanes_;
  Reg complex_arithmetic(std::string_view name, std::span<const Reg>, Dtype);
};

}  // namespace tenfold::cpu
