//! Sets the cfg flags of rb-sys for the Ruby that the extension is built for (`ruby_gte_3_2` and the like).

fn main() -> Result<(), Box<dyn std::error::Error>> {
    rb_sys_env::activate()?;
    Ok(())
}
