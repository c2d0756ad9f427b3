//! The device that candle computes on, and the number formats that it has.

use anser_core::{Device, DeviceError};
use candle_core::{DType, Tensor};

use crate::NumberFormat;

/// Opens `device`.
pub(crate) fn open(device: Device) -> Result<candle_core::Device, DeviceError> {
    let opened = match device {
        Device::Cpu => return Ok(candle_core::Device::Cpu),
        Device::Cuda(number) => candle_core::Device::new_cuda(number),
        Device::Metal => candle_core::Device::new_metal(0),
    };
    opened.map_err(|error| failure(device, &error))
}

/// What `error`, met while computing on `device`, means.
pub(crate) fn failure(device: Device, error: &candle_core::Error) -> DeviceError {
    match error {
        candle_core::Error::NotCompiledWithCudaSupport | candle_core::Error::NotCompiledWithMetalSupport => {
            DeviceError::not_built(device)
        }
        candle_core::Error::WithBacktrace { inner, .. } => failure(device, inner),
        other => DeviceError::of_report(device, other.to_string()),
    }
}

/// The type of candle's tensors for `format` on `device`; `None` for 8-bit integers, which candle's encoders do not have.
/// GPUs without 16-bit brain floats get 16-bit floats.
pub(super) fn number_type(device: &candle_core::Device, format: NumberFormat) -> Option<DType> {
    match format {
        NumberFormat::F32 => Some(DType::F32),
        NumberFormat::Bf16 => Some(if multiplies(device, DType::BF16) { DType::BF16 } else { DType::F16 }),
        NumberFormat::Int8 => None,
    }
}

/// Whether a product of two small matrices of this type works.
fn multiplies(device: &candle_core::Device, dtype: DType) -> bool {
    let one = || Tensor::ones((16, 16), dtype, device);
    one()
        .and_then(|a| a.matmul(&one()?)?.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>())
        .is_ok_and(|sum| sum > 0.0)
}

#[cfg(test)]
mod tests {
    use anser_core::DeviceFault;

    use super::*;

    #[test]
    fn a_device_that_is_not_there_says_what_to_do() {
        assert!(open(Device::Cpu).is_ok());
        // No machine has this many.
        for device in [Device::Cuda(4096), Device::Metal] {
            if device == Device::Metal && cfg!(feature = "metal") {
                continue;
            }
            let error = open(device).unwrap_err();
            assert!(matches!(error.fault, DeviceFault::NotBuilt | DeviceFault::Missing), "{error}");
            assert!(error.to_string().contains("--device cpu"), "{error}");
        }
    }

    #[test]
    fn every_device_has_a_sixteen_bit_type_and_none_has_eight() {
        let device = candle_core::Device::Cpu;
        assert_eq!(number_type(&device, NumberFormat::F32), Some(DType::F32));
        assert_eq!(number_type(&device, NumberFormat::Bf16), Some(DType::BF16));
        assert_eq!(number_type(&device, NumberFormat::Int8), None);
    }
}
