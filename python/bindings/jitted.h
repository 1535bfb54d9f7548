// The object that tn.jit returns.
#pragma once

#include <list>

#include "tenfold/lang/jit.h"

#include "common.h"

namespace tenfold::python {

std::string function_name(nb::handle);

// Calls a Python function while it is traced; a recursion without end becomes a UserError.
nb::object call_traced(nb::handle function, nb::handle args, nb::handle kwargs, std::string_view what,
                       Location where);

// Sets the Python error that stands for the exception being handled.
void set_python_error();
void set_buffer_error();  // the same, as a BufferError too: the buffer protocol wants one

class Jitted {
 public:
  Jitted(nb::object function, nb::handle static_arguments, nb::handle dims, nb::handle donate,
         nb::handle allow, nb::handle plan, nb::handle loops);

  nb::object call(nb::handle args, nb::handle kwargs);
  std::shared_ptr<const lang::Compiled> compiled(nb::handle args,
                                                 nb::handle kwargs);  // compiles if needed, runs nothing
  const nb::object& function() const { return function_; }
  size_t versions() const { return entries_.size(); }

 private:
  struct Leaf;
  struct Call;
  struct Entry {
    std::vector<nb::object> fixed;
    std::shared_ptr<const lang::Compiled> compiled;
    Tree result;
    std::vector<Tree> arguments;  // keep the types alive whose addresses are in the signature
  };
  struct DimSpec {
    std::string symbol;   // empty: as the argument has it
    int64_t extent = -1;  // needed, if not -1
  };

  bool is_static(size_t position, nb::handle name) const;
  void read(nb::handle args, nb::handle kwargs, Call&) const;
  void read(PyObject* value, const std::vector<DimSpec>* dims, Call&) const;
  Entry& entry(nb::handle args, nb::handle kwargs, Call&, Location);
  Device* device_of(const Call&, Location) const;
  Entry trace(nb::handle args, nb::handle kwargs, Call&, Location) const;
  std::string parameter_name(size_t position) const {
    return position < parameters_.size() ? parameters_[position] : "";
  }

  nb::object function_;
  std::vector<std::string> parameters_;  // names of the positional parameters, if they are known
  std::vector<std::string> static_names_, donated_;
  std::vector<int64_t> static_positions_, donated_positions_;
  std::unordered_map<std::string, std::vector<DimSpec>> dims_;
  lang::JitOptions options_;
  // By signature; those of one differ in static arguments. Lists, because a comparison of these may let
  // another thread add one.
  std::unordered_map<std::string, std::list<Entry>> entries_;
};

void bind_jitted(nb::module_&);

}  // namespace tenfold::python
