// The module _tenfold: exceptions, and what the runtime knows about itself.
#include <cstring>

#include <nanobind/stl/string.h>

#include "tenfold/base/knobs.h"
#include "tenfold/compile/compile.h"
#include "tenfold/runtime/allocator.h"
#include "tenfold/runtime/parallel.h"
#include "tenfold/target/devices.h"

#include "common.h"
#include "jitted.h"

namespace tenfold::python {
namespace {

PyObject *base_error = nullptr, *user_error_type = nullptr, *internal_error_type = nullptr,
         *device_error = nullptr, *user_buffer_error = nullptr, *device_buffer_error = nullptr;

void check_signals() {
  const nb::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() != 0) throw nb::python_error();
}

PyObject* new_error(nb::module_& m, const char* name, PyObject* base, const char* doc) {
  PyObject* type = PyErr_NewExceptionWithDoc(fmt::format("tenfold.{}", name).c_str(), doc, base, nullptr);
  m.attr(name) = nb::handle(type);
  return type;
}

// Of two bases, for what the buffer protocol must raise.
PyObject* buffer_error(const char* name, PyObject* base) {
  const nb::object bases = nb::make_tuple(nb::handle(base), nb::handle(PyExc_BufferError));
  return PyErr_NewException(fmt::format("tenfold.{}", name).c_str(), bases.ptr(), nullptr);
}

// A message may quote a part of a letter.
void set_error(PyObject* type, const char* message) {
  const nb::object text = nb::steal(
      PyUnicode_DecodeUTF8(message, static_cast<Py_ssize_t>(std::strlen(message)), "backslashreplace"));
  if (text.is_valid()) PyErr_SetObject(type, text.ptr());
}

void translate(const std::exception_ptr& pointer, void*) {
  try {
    std::rethrow_exception(pointer);
  } catch (const UserError& e) {
    set_error(user_error_type, e.what());
  } catch (const DeviceError& e) {
    set_error(device_error, e.what());
  } catch (const InternalError& e) {
    set_error(internal_error_type, e.what());
  } catch (const Error& e) {
    set_error(base_error, e.what());
  }
}

}  // namespace

void set_python_error() {
  try {
    throw;
  } catch (nb::python_error& e) {
    e.restore();
  } catch (const Error&) {
    translate(std::current_exception(), nullptr);
  } catch (const nb::builtin_exception& e) {
    set_error(e.type() == nb::exception_type::type_error ? PyExc_TypeError : PyExc_ValueError, e.what());
  } catch (const std::exception& e) {
    set_error(PyExc_RuntimeError, e.what());
  }
}

void set_buffer_error() {
  try {
    throw;
  } catch (const UserError& e) {
    set_error(user_buffer_error, e.what());
  } catch (const DeviceError& e) {
    set_error(device_buffer_error, e.what());
  } catch (const std::exception& e) {
    set_error(PyExc_BufferError, e.what());
  }
}

NB_MODULE(_tenfold, m) {
  nb::set_leak_warnings(false);
  base_error = new_error(m, "Error", PyExc_Exception, "What this library raises.");
  user_error_type =
      new_error(m, "UserError", base_error,
                "The program asks for something that has no meaning; the message says what to do.");
  internal_error_type = new_error(m, "InternalError", base_error, "A bug in tenfold.");
  device_error = new_error(m, "DeviceError", base_error, "The machine failed, or has no more memory.");
  user_buffer_error = buffer_error("UserBufferError", user_error_type);
  device_buffer_error = buffer_error("DeviceBufferError", device_error);
  nb::register_exception_translator(translate, nullptr);
  set_interrupt_check(check_signals);
  m.def("_set_package_folder", &set_package_folder);
  m.attr("__version__") = TENFOLD_VERSION;
  bind_tensor(m);
  bind_ops(m);
  bind_transforms(m);
  bind_explain(m);
  bind_env(m);
  m.def(
      "memory_statistics",
      [](nb::handle device) {
        const auto target = device_target(device_name_of(device));
        const MemoryStatistics s = target ? target->device().memory() : memory_statistics();
        nb::dict out;
        out["live_bytes"] = s.live_bytes;
        out["peak_bytes"] = s.peak_bytes;
        out["cached_bytes"] = s.cached_bytes;
        out["allocations"] = s.allocations;
        out["reuses"] = s.reuses;
        return out;
      },
      nb::arg("device") = "cpu", "Bytes in use and kept for reuse, and how often memory was asked for.");
  m.def("trim_memory", &trim_memory, "Gives memory that is kept for reuse back to the system.");
  m.def(
      "cache_statistics",
      [] {
        const compile::CacheStatistics s = compile::cache_statistics();
        nb::dict out;
        out["entries"] = s.entries;
        out["hits"] = s.hits;
        out["misses"] = s.misses;
        return out;
      },
      "Programs in memory, how often one was found there, and how often one had to be planned.");
  m.def("clear_cache", &compile::clear_cache, "Forgets the compiled programs that are kept in memory.");
  m.def(
      "pending_statistics",
      [] {
        const lang::PendingStatistics s = lang::pending_statistics();
        nb::dict out;
        out["nodes"] = s.nodes;
        out["bytes"] = s.bytes;
        return out;
      },
      "Operations that wait until somebody looks at their results.");
  m.def("thread_count", &thread_count, "Threads of a launch.");
}

}  // namespace tenfold::python
