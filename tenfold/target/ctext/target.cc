#include "tenfold/target/ctext/target.h"

#include "tenfold/base/error.h"
#include "tenfold/base/hash.h"

namespace tenfold::ctext {

std::vector<Code> TextTarget::compile(std::span<const tile::Kernel* const> kernels) {
  const File file = emit(kernels, function_names(kernels), dialect_, limits());
  const std::shared_ptr<void> built = program(file.text, kernels[0]->name);
  std::vector<Code> codes;
  for (size_t i = 0; i < kernels.size(); ++i) {
    Code& code = codes.emplace_back();
    code.name = kernels[i]->name;
    code.symbols = file.functions[i].symbols;
    for (const auto& a : kernels[i]->args) code.arguments.push_back(size_of(a.dtype));
    code.keep = kernel(built, kernels[i]->name, file.functions[i]);
  }
  return codes;
}

std::string TextTarget::listing(const tile::Kernel& kernel, std::string_view what) {
  if (what != "c" && what != "asm") user_error("listing {}: {} has \"c\"", what, device().name());
  const tile::Kernel* const kernels[] = {&kernel};
  return emit(kernels, function_names(kernels), dialect_, limits()).text;
}

std::shared_ptr<void> TextTarget::program(const std::string& text, const std::string& first_kernel) {
  const std::string key = digest(text);
  const std::lock_guard lock(mutex_);
  if (const auto found = programs_.find(key); found != programs_.end())
    if (auto program = found->second.lock()) return program;
  auto built = build(text, first_kernel);
  programs_[key] = built;
  return built;
}

}  // namespace tenfold::ctext
