//! The device that candle computes on, for the decoder and for training: the one place of these crates that opens it.

use anser_core::{Device, DeviceError};
use candle_core::{DType, Tensor};

/// Opens `device`. Fails when this program was built without support for it, when the machine has none of that number, and
/// when its driver is too old.
pub fn open_device(device: Device) -> Result<candle_core::Device, DeviceError> {
    let opened = match device {
        Device::Cpu => return Ok(candle_core::Device::Cpu),
        Device::Cuda(number) => candle_core::Device::new_cuda(number),
        Device::Metal => candle_core::Device::new_metal(0),
    };
    opened.map_err(|error| device_failure(device, &error))
}

/// What `error`, met while computing on `device`, means.
pub fn device_failure(device: Device, error: &candle_core::Error) -> DeviceError {
    match error {
        candle_core::Error::NotCompiledWithCudaSupport | candle_core::Error::NotCompiledWithMetalSupport => {
            DeviceError::not_built(device)
        }
        candle_core::Error::WithBacktrace { inner, .. } => device_failure(device, inner),
        other => DeviceError::of_report(device, other.to_string()),
    }
}

/// The numbers that weights have on `device`: 32 bits on a processor; on a GPU 16-bit brain floats, or 16-bit floats where
/// it has no others.
pub fn weight_type(device: &candle_core::Device) -> DType {
    if device.is_cpu() {
        return DType::F32;
    }
    let one = || Tensor::ones((16, 16), DType::BF16, device);
    let sum = one().and_then(|a| a.matmul(&one()?)?.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>());
    if sum.is_ok_and(|sum| sum > 0.0) { DType::BF16 } else { DType::F16 }
}

#[cfg(test)]
mod tests {
    use anser_core::DeviceFault;

    use super::*;

    #[test]
    fn a_device_that_is_not_there_says_what_to_do() {
        assert_eq!(weight_type(&open_device(Device::Cpu).unwrap()), DType::F32);
        let error = open_device(Device::Cuda(4096)).unwrap_err();
        assert!(matches!(error.fault, DeviceFault::NotBuilt | DeviceFault::Missing), "{error}");
        assert!(error.to_string().contains("--device cpu"), "{error}");
    }
}
