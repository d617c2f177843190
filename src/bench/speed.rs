//! How long an operation takes, beside other ways to compute the same.

use std::hint::black_box;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use serde::Serialize;

/// How an operation is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Candle's operation.
    Candle,
    /// Another operation of Candle that computes the same.
    Alternative,
    /// Several of Candle's operations on tensors.
    TensorOperations,
    /// A plain loop in Rust, on one thread, without intrinsics.
    PlainLoop,
}

impl Way {
    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Candle => "Candle",
            Self::Alternative => "Candle's alternative",
            Self::TensorOperations => "tensor operations",
            Self::PlainLoop => "plain loop",
        }
    }
}

/// One way to compute an operation, ready to be called.
pub struct Contender {
    /// Which way.
    pub way: Way,
    /// What exactly is called, if it is not the operation itself.
    pub call: &'static str,
    /// One call.
    pub run: Box<dyn FnMut() -> candle_core::Result<()>>,
}

impl Contender {
    /// A call whose result is a tensor.
    pub fn tensor(
        way: Way,
        call: &'static str,
        mut run: impl FnMut() -> candle_core::Result<Tensor> + 'static,
    ) -> Self {
        let run = Box::new(move || {
            let result = run()?;
            // A device computes later than it is called.
            black_box(&result).device().synchronize()
        });
        Self { way, call, run }
    }

    /// A loop over numbers in memory.
    pub fn plain(mut run: impl FnMut() + 'static) -> Self {
        let run = Box::new(move || {
            run();
            Ok(())
        });
        Self { way: Way::PlainLoop, call: "", run }
    }
}

/// Several ways to compute one operation on the same inputs.
pub struct Race {
    /// The operation's name.
    pub operation: &'static str,
    /// The dtype.
    pub dtype: DType,
    /// The sizes.
    pub size: String,
    /// How many bytes are read and written at least.
    pub bytes: usize,
    /// How many additions and multiplications are needed.
    pub flops: usize,
    /// The ways; the first is Candle's operation.
    pub contenders: Vec<Contender>,
}

/// The time of one way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Time {
    /// Which way.
    pub way: Way,
    /// What exactly is called.
    pub call: &'static str,
    /// The shortest time of a call, in seconds. `None` if the call failed.
    pub seconds: Option<f64>,
}

/// The times of one operation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Speed {
    /// The operation's name.
    pub operation: &'static str,
    /// The dtype, as Candle calls it.
    pub dtype: &'static str,
    /// The sizes.
    pub size: String,
    /// How many bytes are read and written at least.
    pub bytes: usize,
    /// How many additions and multiplications are needed.
    pub flops: usize,
    /// The times, Candle's operation first.
    pub times: Vec<Time>,
}

impl Speed {
    /// The shortest time of this way, in seconds.
    pub fn of(&self, way: Way) -> Option<f64> {
        let times = self.times.iter().filter(|time| time.way == way).filter_map(|time| time.seconds);
        times.fold(None, |least: Option<f64>, time| Some(least.map_or(time, |least| least.min(time))))
    }

    /// How many times faster Candle's operation is than this way: below 1 it is slower.
    pub fn gain(&self, way: Way) -> Option<f64> {
        Some(self.of(way)? / self.of(Way::Candle)?)
    }
}

/// Runs the ways of a race in turn, so that another process slows all of them, for about `patience` each, and takes
/// the shortest time of each.
pub fn run(race: Race, patience: Duration) -> Speed {
    const MOST: usize = 1000;
    let Race { operation, dtype, size, bytes, flops, mut contenders } = race;
    let mut best: Vec<Option<f64>> =
        contenders.iter_mut().map(|contender| once(contender).map(|_| f64::MAX)).collect();
    let begin = Instant::now();
    for round in 0..MOST {
        if round > 2 && begin.elapsed() > patience * contenders.len() as u32 {
            break;
        }
        for (best, contender) in best.iter_mut().zip(&mut contenders) {
            *best = best.and_then(|least| once(contender).map(|time| time.min(least)));
        }
    }
    let times = contenders.iter().zip(best);
    let times = times.map(|(contender, seconds)| Time { way: contender.way, call: contender.call, seconds });
    Speed { operation, dtype: dtype.as_str(), size, bytes, flops, times: times.collect() }
}

/// The time of one call in seconds; `None` if it fails.
fn once(contender: &mut Contender) -> Option<f64> {
    let begin = Instant::now();
    (contender.run)().ok()?;
    Some(begin.elapsed().as_secs_f64())
}

/// A contiguous tensor of normal numbers for a race, and the numbers themselves in float32.
pub fn numbers(dims: &[usize], dtype: DType, device: &Device) -> candle_core::Result<(Tensor, Vec<f32>)> {
    let n = dims.iter().product();
    let values: Vec<f32> = super::values::normal(n, 7).into_iter().map(|x| x as f32).collect();
    Ok((Tensor::from_vec(values.clone(), dims, device)?.to_dtype(dtype)?, values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_time_counts_and_a_failing_way_has_none() {
        let contender = |way, wait: Option<u64>| Contender {
            way,
            call: "",
            run: Box::new(move || match wait {
                Some(ms) => {
                    std::thread::sleep(Duration::from_millis(ms));
                    Ok(())
                }
                None => candle_core::bail!("no kernel"),
            }),
        };
        let contenders = vec![
            contender(Way::Candle, Some(2)),
            contender(Way::PlainLoop, Some(20)),
            contender(Way::Alternative, None),
        ];
        let race =
            Race { operation: "sleep", dtype: DType::F32, size: "1".into(), bytes: 0, flops: 0, contenders };
        let speed = run(race, Duration::from_millis(1));
        assert!(speed.gain(Way::PlainLoop).unwrap() > 1.0);
        assert_eq!(speed.gain(Way::Alternative), None);
        assert!(speed.of(Way::Candle).unwrap() >= 2e-3);
    }
}
