//! Reads the pickle in a file of `torch.save`: a dict of tensors. Candle's machine for pickles executes it, which runs
//! no code; this module limits what a pickle may cost, and accepts tensors only.

use std::collections::HashMap;

use candle_core::pickle::{Object, Stack};
use safetensors::Dtype;

use crate::files::short_name;

/// The longest accepted pickle, in bytes. One tensor takes about 150.
pub(super) const LONGEST: usize = 16 << 20;

/// The largest number of operations. One tensor takes about 40.
const OPERATIONS: usize = 4 << 20;

/// The deepest accepted nesting. A parameter in an ordered dict has seven levels.
const DEEPEST: usize = 32;

/// The largest number of objects that are copied to and from the memo. One tensor takes about 100.
const COPIED: usize = 1 << 20;

/// The largest number of objects that are looked at. All of a dict is looked at whenever items are added.
const SEEN: usize = 1 << 26;

/// A string costs one object more for each of so many bytes.
const BYTES: usize = 64;

/// A tensor in the file.
#[derive(Debug, PartialEq)]
pub(super) struct Pickled {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// The number of entries between neighbours along each axis.
    pub strides: Vec<usize>,
    /// The number of entries before the first one.
    pub offset: usize,
    /// The name of the file's member with the values, without its folder.
    pub storage: String,
    /// The number of entries in it.
    pub entries: usize,
}

/// The tensors of a pickled dict.
///
/// # Errors
/// Says what is wrong: the pickle is damaged or costs too much, or contains anything but tensors.
pub(super) fn tensors(bytes: &[u8]) -> Result<Vec<Pickled>, String> {
    let Object::Dict(entries) = object(bytes)? else {
        return Err("it does not contain a dict: write torch.save({name: tensor})".into());
    };
    // The attribute of an ordered dict that `state_dict` makes.
    let attribute = |(key, value): &(Object, Object)| {
        *key == Object::Unicode("_metadata".into()) && matches!(value, Object::Dict(_))
    };
    let entries = entries.into_iter().filter(|entry| !attribute(entry));
    let tensor = |(key, value): (Object, Object)| {
        let Object::Unicode(name) = key else { return Err(format!("its dict has {} as a key", kind(&key))) };
        match tensor(&value) {
            Ok(tensor) => Ok(Pickled { name, ..tensor }),
            Err(why) => Err(format!("`{}` {why}", short_name(&name))),
        }
    };
    entries.map(tensor).collect()
}

/// Executes a pickle, one operation at a time.
fn object(bytes: &[u8]) -> Result<Object, String> {
    let (mut rest, mut stack) = (bytes, Stack::empty());
    let (mut copied, mut seen, mut memo) = (COPIED, SEEN, HashMap::<u32, usize>::new());
    for _ in 0..OPERATIONS {
        let next = Next::of(rest)?;
        match next {
            // Copies the object on top into the memo, or one from the memo onto the stack.
            Next::Put(id) => {
                let before = copied;
                stack.stack().last().map_or(Ok(()), |top| look(top, DEEPEST, &mut copied))?;
                memo.insert(id, before - copied);
            }
            Next::Get(id) => spend(&mut copied, memo.get(&id).copied().unwrap_or(0))?,
            Next::Nest | Next::Other => {}
        }
        let ends = stack.read(&mut rest).map_err(|error| {
            let error = error.to_string();
            format!("its pickle cannot be read: {}", short_name(error.lines().next().unwrap_or_default()))
        })?;
        if ends {
            return stack.finalize().map_err(|_| "its pickle is empty".into());
        }
        if let Next::Nest = next {
            stack.stack().last().map_or(Ok(()), |top| look(top, DEEPEST, &mut seen))?;
        }
    }
    Err(format!("its pickle has more than {OPERATIONS} operations"))
}

/// What the next operation costs, as far as it is not paid for by its own bytes.
#[derive(Clone, Copy)]
enum Next {
    Put(u32),
    Get(u32),
    /// Makes an object of others.
    Nest,
    Other,
}

impl Next {
    /// Looks at the next operation.
    ///
    /// # Errors
    /// It needs more bytes than there are, or a number that Candle cannot hold.
    fn of(rest: &[u8]) -> Result<Self, String> {
        let cut = || "its pickle is cut off".to_owned();
        let word = |rest: &[u8]| Some(u32::from_le_bytes(*rest.get(1..)?.first_chunk()?));
        let byte = || rest.get(1).copied().ok_or_else(cut);
        Ok(match rest.first().ok_or_else(cut)? {
            // Candle allocates a string before it reads it.
            b'X' if word(rest).is_none_or(|length| length as usize > rest.len() - 5) => return Err(cut()),
            // Candle shifts a byte by eight times its index.
            0x8a if byte()? > 8 => return Err("its pickle has a number of more than 64 bits".into()),
            b'q' => Self::Put(byte()?.into()),
            b'h' => Self::Get(byte()?.into()),
            b'r' => Self::Put(word(rest).ok_or_else(cut)?),
            b'j' => Self::Get(word(rest).ok_or_else(cut)?),
            b't' | 0x85..=0x87 | b'R' | b'b' | b'Q' | b'a' | b'e' | b's' | b'u' | b'd' | 0x81 => Self::Nest,
            _ => Self::Other,
        })
    }
}

fn spend(work: &mut usize, cost: usize) -> Result<(), String> {
    *work = work.checked_sub(cost.max(1)).ok_or("its pickle repeats objects too often")?;
    Ok(())
}

/// Visits an object and all within it.
///
/// # Errors
/// They are nested too deeply, or too many.
fn look(object: &Object, levels: usize, work: &mut usize) -> Result<(), String> {
    spend(work, 1)?;
    let Some(levels) = levels.checked_sub(1) else {
        return Err(format!("its pickle has more than {DEEPEST} objects inside each other"));
    };
    match object {
        Object::Tuple(all) | Object::List(all) => all.iter().try_for_each(|one| look(one, levels, work)),
        Object::Dict(all) => all.iter().try_for_each(|(key, value)| {
            look(key, levels, work)?;
            look(value, levels, work)
        }),
        Object::Reduce { callable, args } | Object::Build { callable, args } => {
            look(callable, levels, work)?;
            look(args, levels, work)
        }
        Object::PersistentLoad(id) => look(id, levels, work),
        Object::Unicode(text) => spend(work, text.len() / BYTES),
        Object::Class { module_name, class_name } => {
            spend(work, (module_name.len() + class_name.len()) / BYTES)
        }
        _ => Ok(()),
    }
}

/// The tensor that an object is, without its name.
///
/// # Errors
/// Says what the object is instead.
fn tensor(object: &Object) -> Result<Pickled, String> {
    let other = || format!("is {}, not a tensor", kind(object));
    let Object::Reduce { callable, args } = object else { return Err(other()) };
    let (Object::Class { module_name, class_name }, Object::Tuple(args)) = (&**callable, &**args) else {
        return Err(other());
    };
    match (module_name.as_str(), class_name.as_str(), &args[..]) {
        ("torch._utils", "_rebuild_parameter", [inner, ..]) => tensor(inner),
        ("torch._tensor", "_rebuild_from_type_v2", [callable, _, inner, ..]) => {
            tensor(&Object::Reduce { callable: Box::new(callable.clone()), args: Box::new(inner.clone()) })
        }
        ("torch._utils", "_rebuild_tensor_v2", [storage, offset, size, stride, ..]) => {
            let rebuilt = rebuilt(storage, offset, size, stride);
            rebuilt.unwrap_or_else(|| Err("is not a tensor as torch.save writes it".to_owned()))
        }
        _ => Err(other()),
    }
}

/// The tensor of these arguments of `_rebuild_tensor_v2`; `None` if they are others.
fn rebuilt(
    storage: &Object,
    offset: &Object,
    size: &Object,
    stride: &Object,
) -> Option<Result<Pickled, String>> {
    let Object::PersistentLoad(id) = storage else { return None };
    let Object::Tuple(id) = &**id else { return None };
    let [Object::Unicode(kind), Object::Class { class_name, .. }, Object::Unicode(key), _, entries] = &id[..]
    else {
        return None;
    };
    let (shape, strides) = (numbers(size)?, numbers(stride)?);
    if kind != "storage" || shape.len() != strides.len() {
        return None;
    }
    let dtype = match class_name.as_str() {
        "DoubleStorage" => Dtype::F64,
        "FloatStorage" => Dtype::F32,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::BOOL,
        other => return Some(Err(format!("has the unsupported type {}", short_name(other)))),
    };
    let (offset, entries) = (number(offset)?, number(entries)?);
    Some(Ok(Pickled { name: String::new(), dtype, shape, strides, offset, storage: key.clone(), entries }))
}

fn numbers(object: &Object) -> Option<Vec<usize>> {
    match object {
        Object::Tuple(all) => all.iter().map(number).collect(),
        _ => None,
    }
}

fn number(object: &Object) -> Option<usize> {
    match object {
        Object::Int(n) => usize::try_from(*n).ok(),
        Object::Long(n) => usize::try_from(*n).ok(),
        _ => None,
    }
}

/// What an object is, for a message.
fn kind(object: &Object) -> String {
    match object {
        Object::Class { module_name, class_name } => {
            format!("the class {}", short_name(&format!("{module_name}.{class_name}")))
        }
        Object::Int(_) | Object::Long(_) | Object::Float(_) => "a number".into(),
        Object::Unicode(_) => "a string".into(),
        Object::Bool(_) => "a bool".into(),
        Object::None => "None".into(),
        Object::Tuple(_) => "a tuple".into(),
        Object::List(_) => "a list".into(),
        Object::Dict(_) => "a dict".into(),
        Object::Reduce { callable, .. } | Object::Build { callable, .. } => match &**callable {
            Object::Class { module_name, class_name } => {
                format!("an object of {}", short_name(&format!("{module_name}.{class_name}")))
            }
            inner => kind(inner),
        },
        Object::Mark | Object::PersistentLoad(_) => "an object".into(),
    }
}

#[cfg(test)]
mod tests;
