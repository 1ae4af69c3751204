"""Initial tables.

Revision 0001, after nothing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "vault_instance",
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=8), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("sop_instance_uid"),
    )
    with op.batch_alter_table("vault_instance", schema=None) as batch_op:
        batch_op.create_index("vault_instance_by_series", ["series_instance_uid"], unique=False)
        batch_op.create_index("vault_instance_by_study", ["study_instance_uid"], unique=False)

    op.create_table(
        "vault_patient",
        sa.Column("site_code", sa.String(length=32), nullable=False),
        sa.Column("patient_id", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=8), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("changed_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("site_code", "patient_id"),
    )
    op.create_table(
        "vault_series",
        sa.Column("series_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("instance_count", sa.Integer(), nullable=False),
        sa.Column("key_id", sa.String(length=8), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("series_instance_uid"),
    )
    with op.batch_alter_table("vault_series", schema=None) as batch_op:
        batch_op.create_index("vault_series_by_study", ["study_instance_uid"], unique=False)

    op.create_table(
        "vault_study",
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("site_code", sa.String(length=32), nullable=False),
        sa.Column("patient_id", sa.String(length=64), nullable=False),
        sa.Column("accession_token", sa.String(length=32), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=8), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("study_instance_uid"),
    )
    with op.batch_alter_table("vault_study", schema=None) as batch_op:
        batch_op.create_index("vault_study_by_accession", ["site_code", "accession_token"], unique=False)
        batch_op.create_index("vault_study_by_patient", ["site_code", "patient_id"], unique=False)

    op.create_table(
        "vault_token",
        sa.Column("site_code", sa.String(length=32), nullable=False),
        sa.Column("token", sa.String(length=32), nullable=False),
        sa.Column("patient_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("site_code", "token", "patient_id"),
    )
    with op.batch_alter_table("vault_token", schema=None) as batch_op:
        batch_op.create_index("vault_token_by_patient", ["site_code", "patient_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("vault_token", schema=None) as batch_op:
        batch_op.drop_index("vault_token_by_patient")

    op.drop_table("vault_token")
    with op.batch_alter_table("vault_study", schema=None) as batch_op:
        batch_op.drop_index("vault_study_by_patient")
        batch_op.drop_index("vault_study_by_accession")

    op.drop_table("vault_study")
    with op.batch_alter_table("vault_series", schema=None) as batch_op:
        batch_op.drop_index("vault_series_by_study")

    op.drop_table("vault_series")
    op.drop_table("vault_patient")
    with op.batch_alter_table("vault_instance", schema=None) as batch_op:
        batch_op.drop_index("vault_instance_by_study")
        batch_op.drop_index("vault_instance_by_series")

    op.drop_table("vault_instance")
