// A device that computes on the CPU but is none: tensors on it don't meet those on the CPU, moving one there makes a new one, and its
// backward pass runs in a thread of its own, as on a graphics card. Every operation is done by the CPU's kernel on copies.
//
// It takes the place of MTIA, which nobody here has: of the devices that PyTorch knows, one that modules are moved to as to CUDA
// (parameters keep their identity and get other data; those of a private device are made anew), and that no code here asks for.

#include <ATen/EmptyTensor.h>
#include <ATen/detail/MTIAHooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <ATen/native/TensorShape.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_as_complex_native.h>
#include <ATen/ops/view_as_real_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/extension.h>

namespace {

using at::Tensor;
constexpr auto CARD = c10::DeviceType::MTIA;

struct CardAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* memory = c10::alloc_cpu(bytes);
    return c10::DataPtr(memory, memory, &c10::free_cpu, c10::Device(CARD, 0));
  }
  c10::DeleterFnPtr raw_deleter() const override { return &c10::free_cpu; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { default_copy_data(to, from, bytes); }
};
CardAllocator allocator;
REGISTER_ALLOCATOR(CARD, &allocator);

// One device, one stream: what the engine of autograd asks for.
struct CardGuard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return CARD; }
  c10::Device exchangeDevice(c10::Device) const override { return {CARD, 0}; }
  c10::Device getDevice() const override { return {CARD, 0}; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device device) const override { return c10::Stream(c10::Stream::DEFAULT, device); }
  c10::Stream getNewStream(c10::Device device, int) const override { return c10::Stream(c10::Stream::DEFAULT, device); }
  c10::Stream exchangeStream(c10::Stream) const override { return c10::Stream(c10::Stream::DEFAULT, getDevice()); }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
};
C10_REGISTER_GUARD_IMPL(MTIA, CardGuard);

struct MTIAHooks final : at::MTIAHooksInterface {
  void init() const override {}
  bool hasMTIA() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getDeviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  void setCurrentDevice(c10::DeviceIndex) const override {}
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex) const override { return 0; }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex) const override { return 0; }
  c10::Stream getCurrentStream(c10::DeviceIndex device) const override { return c10::Stream(c10::Stream::DEFAULT, {CARD, device}); }
  c10::Stream getDefaultStream(c10::DeviceIndex device) const override { return c10::Stream(c10::Stream::DEFAULT, {CARD, device}); }
  void setCurrentStream(const c10::Stream&) const override {}
  at::Allocator* getPinnedMemoryAllocator() const override { return c10::GetCPUAllocator(); }
};
using at::MTIAHooksRegistry;
using at::RegistererMTIAHooksRegistry;
REGISTER_MTIA_HOOKS(MTIAHooks);

// The same memory as a tensor of the CPU.
Tensor on_cpu(const Tensor& x) {
  auto plain = at::from_blob(x.unsafeGetTensorImpl()->unsafe_storage().unsafeGetStorageImpl()->mutable_data(), x.sizes(), x.strides(),
                             x.storage_offset(), [](void*) {}, at::TensorOptions(x.dtype()).device(at::kCPU), at::Device(at::kCPU));
  if (x.is_conj()) plain = plain.conj();
  if (x.is_neg()) plain = plain._neg_view();
  return plain;
}

bool here(const Tensor& x) { return x.defined() && x.device().type() == CARD; }

// As Apple's and Intel's cards have none.
void refuse_float64(std::optional<at::ScalarType> dtype) {
  static const bool refused = std::getenv("CARD_WITHOUT_FLOAT64") != nullptr;
  const auto asked = c10::dtype_or_default(dtype);
  TORCH_CHECK(!refused || (asked != at::kDouble && asked != at::kComplexDouble), "this device has no float64");
}

Tensor empty(c10::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>, std::optional<at::Device>,
             std::optional<bool>, std::optional<at::MemoryFormat> format) {
  refuse_float64(dtype);
  return at::detail::empty_generic(size, &allocator, c10::DispatchKeySet(c10::DispatchKey::MTIA),
                                   c10::dtype_or_default(dtype), format);
}

Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                     std::optional<at::Device>, std::optional<bool>) {
  refuse_float64(dtype);
  return at::detail::empty_strided_generic(size, stride, &allocator, c10::DispatchKeySet(c10::DispatchKey::MTIA),
                                           c10::dtype_or_default(dtype));
}

Tensor copy_from(const Tensor& from, const Tensor& to, bool) {
  Tensor a = here(from) ? on_cpu(from) : from;
  Tensor b = here(to) ? on_cpu(to) : to;
  b.copy_(a);
  return to;
}

Tensor copy_from_and_resize(const Tensor& from, const Tensor& to) {
  to.resize_(from.sizes());
  return copy_from(from, to, false);
}

at::Scalar local_scalar(const Tensor& x) { return on_cpu(x).item(); }

const Tensor& resize(const Tensor& x, c10::IntArrayRef size, std::optional<at::MemoryFormat>) {
  auto* impl = x.unsafeGetTensorImpl();
  impl->set_sizes_contiguous(size);
  size_t bytes = (impl->numel() + impl->storage_offset()) * x.dtype().itemsize();
  auto* storage = impl->unsafe_storage().unsafeGetStorageImpl();
  if (bytes > storage->nbytes()) {
    auto data = allocator.allocate(bytes);
    std::memcpy(data.get(), storage->data(), storage->nbytes());
    storage->set_data_ptr_noswap(std::move(data));
    storage->set_nbytes(bytes);
  }
  return x;
}

Tensor as_strided(const Tensor& x, c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<int64_t> offset) {
  return at::native::as_strided_tensorimpl(x, size, stride, offset);
}
Tensor view(const Tensor& x, c10::IntArrayRef size) { return at::native::view(x, size); }
Tensor reshape_alias(const Tensor& x, c10::IntArrayRef size, c10::IntArrayRef stride) {
  return at::native::as_strided_tensorimpl(x, size, stride, x.storage_offset());
}
Tensor unfold(const Tensor& x, int64_t dim, int64_t size, int64_t step) { return at::native::unfold(x, dim, size, step); }
Tensor as_real(const Tensor& x) { return at::native::view_as_real(x); }
Tensor as_complex(const Tensor& x) { return at::native::view_as_complex(x); }
Tensor& set_storage(Tensor& x, at::Storage storage, int64_t offset, c10::IntArrayRef size, c10::IntArrayRef stride) {
  return at::native::set_storage_cpu_(x, std::move(storage), offset, size, stride);
}
Tensor& set_whole(Tensor& x, at::Storage storage) { return at::native::set_(x, std::move(storage)); }

Tensor convolution(const Tensor& x, const Tensor& w, const std::optional<Tensor>& bias, c10::SymIntArrayRef stride,
                   c10::SymIntArrayRef padding, c10::SymIntArrayRef dilation, bool transposed, c10::SymIntArrayRef out, c10::SymInt groups) {
  TORCH_CHECK(here(x) && here(w), "Expected all tensors to be on the same device: input and weight of a convolution are not");
  std::optional<Tensor> b = bias && bias->defined() ? std::optional<Tensor>(bias->cpu()) : std::nullopt;
  return at::convolution_symint(x.cpu(), w.cpu(), b, stride, padding, dilation, transposed, out, groups).to(x.device());
}

std::tuple<Tensor, Tensor, Tensor> convolution_backward(const Tensor& g, const Tensor& x, const Tensor& w, c10::SymIntArrayRef stride,
                                                        c10::SymIntArrayRef padding, c10::SymIntArrayRef dilation, bool transposed,
                                                        c10::SymIntArrayRef out, c10::SymInt groups, std::array<bool, 3> wanted) {
  auto sizes = c10::SymIntArrayRef(w.sym_sizes().data(), 1);
  auto [a, b, c] = at::convolution_backward_symint(g.cpu(), x.cpu(), w.cpu(), sizes, stride, padding, dilation, transposed, out, groups, wanted);
  auto back = [&](const Tensor& y) { return y.defined() ? y.to(x.device()) : y; };
  return {back(a), back(b), back(c)};
}

// Attention by its own operations: whatever else there is belongs to a device.
int64_t attention_by_products(const Tensor&, const Tensor&, const Tensor&, const std::optional<Tensor>&, double, bool, std::optional<double>, bool) {
  return 0;
}

void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  const bool indexes = schema.name().rfind("aten::index", 0) == 0 || schema.name().rfind("aten::_index", 0) == 0;
  bool card = false, cpu = false;
  auto look = [&](const Tensor& x) {
    card |= here(x);
    cpu |= x.defined() && x.device().is_cpu() && x.dim() > 0;
  };
  auto arguments = torch::jit::last(*stack, schema.arguments().size());
  for (const auto& argument : arguments) {
    if (argument.isTensor()) look(argument.toTensor());
    else if (argument.isTensorList()) for (const Tensor& x : argument.toTensorVector()) look(x);
  }
  TORCH_CHECK(indexes || !(card && cpu),
              "Expected all tensors to be on the same device, but found at least two devices, mtia:0 and cpu! (", schema.name(), ")");
  at::native::cpu_fallback(op, stack, /*error_on_views=*/false);
}

TORCH_LIBRARY_IMPL(aten, MTIA, m) {
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &empty_strided);
  m.impl("_copy_from", &copy_from);
  m.impl("_copy_from_and_resize", &copy_from_and_resize);
  m.impl("_local_scalar_dense", &local_scalar);
  m.impl("resize_", &resize);
  m.impl("as_strided", &as_strided);
  m.impl("view", &view);
  m.impl("_reshape_alias", &reshape_alias);
  m.impl("unfold", &unfold);
  m.impl("view_as_real", &as_real);
  m.impl("view_as_complex", &as_complex);
  m.impl("set_.source_Storage_storage_offset", &set_storage);
  m.impl("set_.source_Storage", &set_whole);
  m.impl("convolution_overrideable", &convolution);
  m.impl("convolution_backward_overrideable", &convolution_backward);
  m.impl("_fused_sdp_choice", &attention_by_products);
}

// Copying is how a conjugated tensor is resolved: it must not be resolved for that.
TORCH_LIBRARY_IMPL(aten, Conjugate, m) { m.impl("_copy_from", torch::CppFunction::makeFallthrough()); }
TORCH_LIBRARY_IMPL(aten, Negative, m) { m.impl("_copy_from", torch::CppFunction::makeFallthrough()); }

TORCH_LIBRARY_IMPL(_, MTIA, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>()); }

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {}
