//! Judges a forward pass of one's own: `cargo run --example own_model`. All of it is right.

mod llama;

use rbees_check::{Check, Reference};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = llama::Llama::open("fixtures/tiny-llama".as_ref())?;
    for case in ["single", "short", "batch-left", "long"] {
        let reference = Reference::open(format!("fixtures/tiny-llama/{case}"))?;
        let tokens = reference.tokens();
        let checked = Check::against(&reference).run(|probe| {
            let (ids, positions, mask) = (&tokens.ids, &tokens.positions, &tokens.mask);
            model.forward(ids, positions, mask, &mut vec![], &mut |name, tensor| Ok(probe.tap(name, tensor)?))
        })?;
        println!("{}\n", checked.report());
        checked.assert_complete();
    }
    Ok(())
}
