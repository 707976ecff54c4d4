//! The memory of a device.

/// How much memory a device has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceMemory {
    /// What the device calls itself.
    pub device: String,
    /// Bytes of all of it.
    pub total: u64,
    /// Bytes that nobody holds.
    pub free: u64,
}
