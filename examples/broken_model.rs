//! The model of `own_model.rs` with one mistake: it rotates by the usual θ of 10000 and not by its
//! config's. `cargo run --example broken_model` says where that shows first, and what it is.

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
    println!("{}", checked.report()); // a test would say `checked.assert()`
    assert!(!checked.passed());
    Ok(())
}
