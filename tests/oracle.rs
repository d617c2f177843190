//! The oracle against stored truth: two float64 Llamas that share no code must be one.
//!
//! `RECORD=1 cargo test --test oracle` writes what it measures into the manifests, where
//! `second_oracle` then says how far apart the two are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use rbees_check::models;
use rbees_check::oracle::{self, Rows, Tokens};
use rbees_check::probe::Site;
use rbees_check::reference::{Manifest, Reference, SecondOracle, Truth};

/// The largest difference that two float64 computations may show, as a share of the row's scale.
/// Stored truth is rounded to 40 bits, which is 9e-13; summation order lies below that.
const SAME: f64 = 1e-9;

/// Measured again elsewhere, it may come out this many times larger or smaller: another processor
/// sums in another order.
const LIKE: f64 = 8.0;

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let mut trials = Vec::new();
    for model in models::NAMES {
        let absent = models::open(model).is_err();
        for case in models::fixture(model).expect("references are part of the repository").cases {
            let name = format!("oracle_agrees::{model}::{case}").replace('-', "_");
            trials.push(Trial::test(name, move || agrees(model, &case)).with_ignored_flag(absent));
        }
    }
    libtest_mimic::run(&args, trials).exit_code()
}

/// At every stored site and row; and the manifest says by how much.
fn agrees(model: &str, case: &str) -> Result<(), Failed> {
    let opened = models::open(model)?;
    let reference = opened.fixture.as_ref().ok_or("no references")?.case(case)?;
    let apart = apart(&opened, &reference)?;
    let missed: Vec<String> =
        reference.sites().filter(|site| !apart.contains_key(site)).map(|s| s.to_string()).collect();
    if !missed.is_empty() {
        return Err(format!("the oracle never computes {}", missed.join(", ")).into());
    }
    let (site, largest) =
        apart.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).ok_or("a case without sites")?;
    println!("{model}/{case}: apart by {largest:.1e} of the row's scale at most, at {site}");
    if largest > SAME {
        return Err(format!("{site}: {largest:e} of its row's scale").into());
    }
    if std::env::var_os("RECORD").is_some() {
        return Ok(record(&manifest(model, case), largest)?);
    }
    match reference.manifest.second_oracle {
        SecondOracle::Agrees { within } if within < LIKE * largest && largest < LIKE * within => Ok(()),
        ref said => {
            Err(format!("the manifest says {said:?}, measured {largest:.1e}: RECORD=1 records it").into())
        }
    }
}

/// How far the oracle is from truth at each stored site: the largest share of a row's scale.
fn apart(model: &models::Model, case: &Reference) -> Result<BTreeMap<Site, f64>, Failed> {
    let tokens = tokens(&case.manifest);
    let mut apart = BTreeMap::new();
    oracle::forward(&model.weights, &tokens, &mut |site, rows| {
        if let Some(truth) = case.truth(site) {
            apart.insert(site, largest(rows, truth, &tokens));
        }
        Ok(())
    })?;
    Ok(apart)
}

fn tokens(manifest: &Manifest) -> Tokens {
    let places = manifest.rows["all"].clone();
    Tokens {
        ids: places.iter().map(|&(b, s)| manifest.ids[b][s]).collect(),
        positions: places.iter().map(|&(b, s)| manifest.position_ids[b][s]).collect(),
        length: manifest.ids[0].len(),
        places,
    }
}

fn largest(rows: &Rows, truth: &Truth, tokens: &Tokens) -> f64 {
    assert_eq!(rows.width, truth.row_shape.iter().product::<usize>());
    let mut largest = 0f64;
    for (r, place) in truth.places.iter().enumerate() {
        let own = tokens.places.binary_search(place).expect("a stored place is a token's");
        let scale = truth.scale(r).max;
        for (&got, &want) in rows.row(own).iter().zip(truth.row(r)) {
            // Barred on both sides is agreement; on one side an infinite difference.
            let difference = if got == want { 0.0 } else { (got - want).abs() / scale };
            largest = if difference.is_nan() { f64::INFINITY } else { largest.max(difference) };
        }
    }
    largest
}

fn manifest(model: &str, case: &str) -> PathBuf {
    let folder = model.replace(':', "-"); // tiny-llama:q8_0 lies in tiny-llama-q8_0
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(folder).join(case).join("manifest.json")
}

/// Changes that one value and no other byte: written beside and renamed.
fn record(path: &Path, largest: f64) -> std::io::Result<()> {
    let text = std::fs::read_to_string(path)?;
    let key = "\"second_oracle\": ";
    let start = text.find(key).expect("a manifest has a second_oracle") + key.len();
    let end = start + text[start..].find('\n').expect("it ends its line");
    let comma = if text[..end].ends_with(',') { "," } else { "" };
    let new = format!("{}{{\"within\": {largest:.1e}}}{comma}{}", &text[..start], &text[end..]);
    let beside = path.with_extension("json.partial");
    std::fs::write(&beside, new)?;
    std::fs::rename(beside, path)
}
