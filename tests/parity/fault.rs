//! What a device says that was led astray, and what can still be done with it.

use std::process::Command;

use engine_backend::{Backend, BackendError, Event};

use crate::dice::Dice;
use crate::ends::Ends;
use crate::gpu;
use crate::products::lone_rows;

/// Set for the child process: a context that is broken stays so.
const CHILD: &str = "ANTIPHON_TEST_CHILD";

#[test]
fn an_illegal_address_loses_the_device() {
    let Some(mut cuda) = gpu() else { return };
    if std::env::var_os(CHILD).is_none() {
        drop(cuda);
        let mut child = Command::new(std::env::current_exe().unwrap());
        let test = "fault::an_illegal_address_loses_the_device";
        let output = child.args(["--exact", test]).env(CHILD, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let mut layout = lone_rows(vec![0], &mut Dice::new(0));
    let mut step = cuda.step(1, 1, 1, 1).expect("a working device");
    let x = cuda.floats(1024, &[0.0; 1024]);
    let mut out = cuda.buffer(1, 1024).expect("a working device");
    // A row that lies far beyond all memory.
    layout.samples[0].token = 1 << 31;
    cuda.stage(&layout, &mut step);
    cuda.gather(&x, &step, &mut out);
    let told = cuda.record(&step).wait();
    assert!(matches!(told, Err(BackendError::Lost(_))), "{told:?}");
    // Whatever is asked for afterwards gets the same answer.
    let again = cuda.finish();
    assert!(matches!(again, Err(BackendError::Lost(_))), "{again:?}");
    assert!(cuda.vector(&[1.0]).is_err());
}
