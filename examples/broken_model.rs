//! The model of `own_model.rs` with one mistake: it rotates with the usual θ of 10000 instead of its
//! config's. `cargo run --example broken_model` reports where the mistake shows first, and names it.

mod llama;

use rbees_check::{Check, Reference};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut model = llama::Llama::open("fixtures/tiny-llama".as_ref())?;
    model.theta = 10_000.0; // the mistake
    let reference = Reference::open("fixtures/tiny-llama/short")?;
    let tokens = reference.tokens();
    let checked = Check::against(&reference).run(|probe| {
        let (ids, positions, mask) = (&tokens.ids, &tokens.positions, &tokens.mask);
        model.forward(ids, positions, mask, &mut vec![], &mut |name, tensor| Ok(probe.tap(name, tensor)?))
    })?;
    println!("{}", checked.report()); // in a test, call `checked.assert()` instead
    assert!(!checked.passed());
    Ok(())
}
