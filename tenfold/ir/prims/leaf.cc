// Leaves: what a graph starts from.
#include "tenfold/ir/prim.h"

namespace tenfold {
namespace {

void check_extents(std::string_view what, const Shape& shape) {
  for (const Dim& extent : shape)
    if (!provably_le(0, extent))
      user_error("{}: the shape {} has the extent {}, which can be negative; give it a lower bound of 0",
                 what, str(shape), extent.str());
}

Relation no_inputs(const Node&, const Forms&, Space&) { return {}; }

const Prim kPrims[] = {
    {
        .name = "parameter",
        .doc = "An input of a graph. Parameters of scope 0 are numbered by their position; others stand in a "
               "body that is being traced.",
        .kind = Kind::leaf,
        .arity = 0,
        .attributes = {{"index", AttrSpec::Type::integer, "position among the parameters"},
                       {"scope", AttrSpec::Type::integer, "0 in a closed graph"},
                       {"dtype", AttrSpec::Type::dtype, "element type"},
                       {"shape", AttrSpec::Type::shape, "extents"}},
        .type =
            [](const Attrs& attrs, std::span<const NodeRef>) {
              check_extents("parameter", attrs.shape("shape"));
              return std::vector<Type>{{attrs.dtype("dtype"), attrs.shape("shape")}};
            },
        .relation = no_inputs,
        .cost = 0,
        .properties = {"parameter"},
    },
    {
        .name = "constant",
        .doc = "A number known when compiling, of rank 0.",
        .kind = Kind::leaf,
        .arity = 0,
        .attributes = {{"value", AttrSpec::Type::scalar, "the number"},
                       {"dtype", AttrSpec::Type::dtype, "element type"}},
        .type =
            [](const Attrs& attrs, std::span<const NodeRef>) {
              const Dtype dtype = attrs.dtype("dtype");
              const Scalar& value = attrs.scalar("value");
              if (!(value.round_to(dtype) == value))
                user_error("constant: {} is not a value of {}; the nearest one is {}", value.str(),
                           name(dtype), value.round_to(dtype).str());
              return std::vector<Type>{{dtype, {}}};
            },
        .reference = [](const Node& node, std::span<const Array* const>,
                        std::span<Array> out) { out[0].set(0, node.attrs.scalar("value")); },
        .relation = no_inputs,
        .cost = 0,
        .properties = {"constant"},
    },
    {
        .name = "iota",
        .doc = "The index of each element along one axis: 0, 1, 2 ...",
        .kind = Kind::leaf,
        .arity = 0,
        .attributes = {{"shape", AttrSpec::Type::shape, "extents"},
                       {"axis", AttrSpec::Type::integer, "the axis that is counted along"},
                       {"dtype", AttrSpec::Type::dtype, "integer or floating"}},
        .type =
            [](const Attrs& attrs, std::span<const NodeRef>) {
              const Shape& shape = attrs.shape("shape");
              const int64_t axis = attrs.integer("axis");
              const Dtype dtype = attrs.dtype("dtype");
              check_extents("iota", shape);
              if (axis < 0 || axis >= static_cast<int64_t>(shape.size()))
                user_error("iota: axis {} does not exist in the shape {}; axes go from 0 to {}", axis,
                           str(shape), std::ssize(shape) - 1);
              if (!is_int(dtype) && !is_float(dtype))
                user_error("iota: cannot count in {}; use an integer or floating dtype", name(dtype));
              return std::vector<Type>{{dtype, shape}};
            },
        .reference =
            [](const Node& node, std::span<const Array* const>, std::span<Array> out) {
              const auto axis = static_cast<size_t>(node.attrs.integer("axis"));
              int64_t inner = 1;
              for (size_t d = axis + 1; d < out[0].shape.size(); ++d) inner *= out[0].shape[d];
              for (int64_t i = 0; i < out[0].size(); ++i) out[0].set(i, i / inner % out[0].shape[axis]);
            },
        .relation = no_inputs,
        .cost = 0,
        .properties = {"index"},
    },
};
const Family kFamily{kPrims};

}  // namespace
}  // namespace tenfold
