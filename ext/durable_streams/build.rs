//! Passes on what rb-sys knows of the Ruby it builds for (`ruby_gte_3_2` and the like as cfg flags).

fn main() -> Result<(), Box<dyn std::error::Error>> {
    rb_sys_env::activate()?;
    Ok(())
}
