//! Consolidates GPU memory instead of deleting it
