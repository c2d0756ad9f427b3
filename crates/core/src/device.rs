//! What computes: the processor or a GPU, as people name it, and what can be wrong with it.

use std::error::Error as StdError;
use std::fmt;
use std::str::FromStr;

use crate::ErrorKind;

/// What computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// The NVIDIA GPU of this number, counted from 0.
    Cuda(usize),
    /// Apple's GPU.
    Metal,
}

impl Device {
    /// Whether it is the processor.
    pub fn is_cpu(self) -> bool {
        self == Self::Cpu
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

impl FromStr for Device {
    type Err = String;

    /// Reads `cpu`, `cuda`, `cuda:N` or `metal`.
    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("{text:?} is no device; use cpu, cuda, cuda:1 (for the second GPU) or metal");
        match text {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            "metal" => Ok(Self::Metal),
            _ => {
                let number = text.strip_prefix("cuda:").filter(|number| number.bytes().all(|b| b.is_ascii_digit()));
                number.and_then(|number| number.parse().ok()).map(Self::Cuda).ok_or_else(unknown)
            }
        }
    }
}

/// What is wrong with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceFault {
    /// This program has no code for it.
    NotBuilt,
    /// The machine has none of that number.
    Missing,
    /// The driver is older than the libraries that the program was built with.
    OldDriver,
    /// The program's kernels were compiled for another generation of GPUs.
    OtherArchitecture,
    /// It has not enough free memory.
    OutOfMemory,
    /// Anything else.
    Failed,
}

/// Names under which CUDA's driver and libraries report a fault.
const REPORTS: [(DeviceFault, &[&str]); 4] = [
    (DeviceFault::OutOfMemory, &["CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED", "out of memory"]),
    (DeviceFault::Missing, &["CUDA_ERROR_NO_DEVICE", "CUDA_ERROR_INVALID_DEVICE", "CUDA_ERROR_STUB_LIBRARY"]),
    (
        DeviceFault::OldDriver,
        &[
            "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
            "CUDA_ERROR_INSUFFICIENT_DRIVER",
            "CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER",
            "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
            "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE",
        ],
    ),
    (DeviceFault::OtherArchitecture, &["CUDA_ERROR_NO_BINARY_FOR_GPU", "CUDA_ERROR_INVALID_PTX"]),
];

impl DeviceFault {
    /// The fault that a library's message reports.
    pub fn of_report(report: &str) -> Self {
        REPORTS
            .iter()
            .find(|(_, names)| names.iter().any(|name| report.contains(name)))
            .map_or(Self::Failed, |(fault, _)| *fault)
    }
}

/// A device that cannot be used, or stopped being usable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceError {
    /// Which.
    pub device: Device,
    /// What is wrong.
    pub fault: DeviceFault,
    /// What the library under us said.
    pub report: String,
}

impl DeviceError {
    /// The fault that `report`, a library's message about `device`, describes.
    pub fn of_report(device: Device, report: impl Into<String>) -> Self {
        let report = report.into();
        Self { device, fault: DeviceFault::of_report(&report), report }
    }

    /// This program was built without code for `device`.
    pub fn not_built(device: Device) -> Self {
        Self { device, fault: DeviceFault::NotBuilt, report: String::new() }
    }

    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self.fault {
            DeviceFault::Failed => ErrorKind::Internal,
            _ => ErrorKind::Unavailable,
        }
    }
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, report, .. } = self;
        match self.fault {
            DeviceFault::NotBuilt => {
                let target = if *device == Device::Metal { "metal" } else { "cuda" };
                write!(
                    f,
                    "this program was built without support for {device}; build it with `make {target}`, or choose --device cpu"
                )
            }
            DeviceFault::Missing => {
                write!(
                    f,
                    "this machine has no device {device} ({report}); see what nvidia-smi lists, or choose --device cpu"
                )
            }
            DeviceFault::OldDriver => write!(
                f,
                "the driver of {device} is older than this program needs ({report}); CUDA 13 needs driver 580 or newer: \
                 update it, or choose --device cpu"
            ),
            DeviceFault::OtherArchitecture => write!(
                f,
                "this program was built for another generation of GPUs than {device} ({report}); build it again with \
                 `make cuda CUDA_COMPUTE_CAP=...`, or choose --device cpu"
            ),
            DeviceFault::OutOfMemory => write!(
                f,
                "{device} has not enough free memory ({report}); end what else uses it, shorten the texts or take a smaller \
                 model, or choose --device cpu"
            ),
            DeviceFault::Failed => write!(f, "{device} failed: {report}; choose --device cpu to go on without it"),
        }
    }
}

impl StdError for DeviceError {}

impl From<DeviceError> for crate::Error {
    fn from(error: DeviceError) -> Self {
        Self::new(error.kind(), error.to_string()).with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_written_as_they_are_read() {
        for (text, device) in
            [("cpu", Device::Cpu), ("cuda", Device::Cuda(0)), ("cuda:3", Device::Cuda(3)), ("metal", Device::Metal)]
        {
            assert_eq!(text.parse(), Ok(device));
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        for wrong in ["", "gpu", "cuda:", "cuda:x", "cuda:+1", "CPU", "cuda:99999999999999999999"] {
            assert!(wrong.parse::<Device>().unwrap_err().contains("cuda:1"), "{wrong}");
        }
    }

    #[test]
    fn what_the_driver_says_becomes_what_to_do() {
        let error = |report: &str| DeviceError::of_report(Device::Cuda(1), report);
        for (report, fault, advice) in [
            ("DriverError(CUDA_ERROR_NO_DEVICE, \"no CUDA-capable device\")", DeviceFault::Missing, "nvidia-smi"),
            ("DriverError(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, \"\")", DeviceFault::OldDriver, "580"),
            ("DriverError(CUDA_ERROR_NO_BINARY_FOR_GPU, \"\")", DeviceFault::OtherArchitecture, "CUDA_COMPUTE_CAP"),
            ("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")", DeviceFault::OutOfMemory, "free memory"),
        ] {
            let error = error(report);
            assert_eq!((error.fault, error.kind()), (fault, ErrorKind::Unavailable));
            let message = error.to_string();
            assert!(
                message.contains(advice) && message.contains("cuda:1") && message.contains("--device cpu"),
                "{message}"
            );
        }
        assert_eq!(error("CUDA_ERROR_ILLEGAL_ADDRESS").kind(), ErrorKind::Internal);
        assert!(DeviceError::not_built(Device::Metal).to_string().contains("make metal"));
        assert!(DeviceError::not_built(Device::Cuda(0)).to_string().contains("make cuda"));
    }
}
