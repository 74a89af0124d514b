"""What a user may write: one YAML per dataset, one per model, one per profile."""
