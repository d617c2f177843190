//! `--device`: opens the named device, runs the program that has it, or explains why it cannot be opened.

use candle_core::Device;
use candle_core::utils::{cuda_is_available, metal_is_available};
use rbees_check::{Error, Result};

use super::escape::one_line;
use super::sibling;

/// A kind of accelerator.
struct Accelerator {
    name: &'static str,
    compiled: fn() -> bool,
    open: fn(usize) -> candle_core::Result<Device>,
    called: &'static str,
    /// Is it also supported by a second program beside this one?
    sibling: bool,
}

const ACCELERATORS: [Accelerator; 2] = [
    Accelerator {
        name: "cuda",
        compiled: cuda_is_available,
        open: Device::new_cuda,
        called: "CUDA",
        sibling: true,
    },
    Accelerator {
        name: "metal",
        compiled: metal_is_available,
        open: Device::new_metal,
        called: "Metal",
        sibling: false,
    },
];

/// Opens the device that `text` names: `cpu`, `cuda`, `cuda:1`, `metal`, `auto`.
pub fn open(text: &str) -> Result<Device> {
    let unknown =
        || Error::input(format!("--device {text}: no such device"), "use cpu, cuda[:N], metal[:N] or auto");
    let (name, number) = text.split_once(':').map_or((text, None), |(name, number)| (name, Some(number)));
    match (name, number) {
        ("cpu", None) => return Ok(Device::Cpu),
        ("auto", None) => return Ok(best()),
        _ => {}
    }
    let kind = ACCELERATORS.iter().find(|kind| kind.name == name).ok_or_else(unknown)?;
    let number = number.map_or(Ok(0), str::parse).map_err(|_| unknown())?;
    if !(kind.compiled)() {
        if kind.sibling {
            return Err(sibling::run(name, text));
        }
        let hint = format!("build with `cargo install --path . --features {name}`, or use --device cpu");
        return Err(Error::input(
            format!("--device {text}: this build has no {} support", kind.called),
            hint,
        ));
    }
    (kind.open)(number).map_err(|error| {
        let why = error.to_string();
        let what = format!("--device {text}: {}", why.lines().next().unwrap_or("not present"));
        Error::input(what, "`rbees-check list` shows which devices are present")
    })
}

/// The first accelerator that can be opened, otherwise the CPU.
fn best() -> Device {
    let present = ACCELERATORS.iter().filter(|kind| (kind.compiled)()).find_map(|kind| (kind.open)(0).ok());
    present.unwrap_or(Device::Cpu)
}

/// `cpu`, `cuda:0`.
pub fn name(device: &Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cpu => "cpu".into(),
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        candle_core::DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

/// Every kind of device, and whether it can be used on this machine.
pub fn all() -> Vec<(&'static str, String)> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let state = |kind: &Accelerator| match ((kind.compiled)(), (kind.open)(0)) {
        (false, _) => match sibling::find(kind.name) {
            Some(program) if kind.sibling => format!("in {}", one_line(&program.display().to_string())),
            _ => "not in this build".to_owned(),
        },
        (true, Ok(_)) => "present".to_owned(),
        (true, Err(error)) => {
            format!("not present: {}", error.to_string().lines().next().unwrap_or_default())
        }
    };
    let cpu =
        ("cpu", format!("{}, {cores} core{}", std::env::consts::ARCH, if cores == 1 { "" } else { "s" }));
    std::iter::once(cpu).chain(ACCELERATORS.iter().map(|kind| (kind.name, state(kind)))).collect()
}
