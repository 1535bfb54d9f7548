// What targets that compile the C emitter's text have in common: one program for kernels compiled together,
// shared by all who ask for the same text while one of them lives.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "tenfold/target/ctext/dialect.h"
#include "tenfold/target/ctext/emit.h"
#include "tenfold/target/devices.h"

namespace tenfold::ctext {

class TextTarget : public DeviceTarget {
 public:
  std::vector<Code> compile(std::span<const tile::Kernel* const>) final;
  std::string listing(const tile::Kernel&, std::string_view what) final;

 protected:
  explicit TextTarget(const Dialect& dialect) : dialect_(dialect) {}

  virtual const Limits& limits() const = 0;
  // The device's own program of the text; `first_kernel` is for the error.
  virtual std::shared_ptr<void> build(const std::string& text, const std::string& first_kernel) = 0;
  // What a Code keeps, and a launch runs: it owns the program.
  virtual std::shared_ptr<void> kernel(std::shared_ptr<void> program, const std::string& kernel_name,
                                       const Function&) = 0;

 private:
  std::shared_ptr<void> program(const std::string& text, const std::string& first_kernel);

  const Dialect& dialect_;
  std::mutex mutex_;
  std::map<std::string, std::weak_ptr<void>> programs_;  // by digest of their text
};

}  // namespace tenfold::ctext
