//! The bundle that is shipped: it loads without a warning, its golden tests pass, and every policy of it decides one.

use std::path::Path;

use hallpass::policy::{Bundle, run_tests};

#[test]
fn the_shipped_bundle_passes_its_own_tests_and_every_policy_decides_one() {
    let bundle =
        Bundle::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("policies")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(bundle.warnings(), &[], "the shipped bundle has warnings");
    let report = run_tests(&bundle);
    assert!(report.is_success(), "{report}");
    assert_eq!(report.never_decided, Vec::<String>::new(), "{report}");
    assert_eq!(report.files.len(), 2, "{report}");
}
