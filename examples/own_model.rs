//! Checks your own forward pass: `cargo run --example own_model`. This model is correct.
//!
//! To check the same code with a Hugging Face directory and its cases (`docs/references.md`):
//! `cargo run --release --example own_model -- MODEL refs/000 refs/001`.

mod llama;

use rbees_check::{Check, Reference};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let (folder, cases) = match &given[..] {
        [folder, cases @ ..] if !cases.is_empty() => (folder.clone(), cases.to_vec()),
        _ => {
            let tiny = "fixtures/tiny-llama";
            (
                tiny.into(),
                ["single", "short", "batch-left", "long"].map(|case| format!("{tiny}/{case}")).into(),
            )
        }
    };
    let model = llama::Llama::open(folder.as_ref())?;
    for case in cases {
        let reference = Reference::open(case)?;
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
