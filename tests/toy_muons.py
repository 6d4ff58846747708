"""Toy muons for tests: smooth biases with noise, quick to make and easy to learn. Not physics."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.dataset.matched import COLUMNS, Dataset
from l1scout.formats.streams.muon import ETA, ETA_VTX, PHI, PHI_VTX, PT
from l1scout.io.parquet import METADATA_KEY


def toy_columns(n: int = 20_000, seed: int = 1) -> dict[str, np.ndarray]:
    """Columns of a data set, and the offline muon's place at station 2."""
    rng = np.random.default_rng(seed)
    pt = 2.5 + rng.exponential(5, 2 * n)
    charge = rng.choice([-1, 1], 2 * n)
    phi, eta = rng.uniform(-np.pi, np.pi, 2 * n), rng.uniform(-0.8, 0.8, 2 * n)
    l1_pt = pt * (0.8 + 0.1 * rng.standard_normal(2 * n))
    l1_phi = phi + charge * (0.6 / pt + 0.02 * rng.standard_normal(2 * n))
    l1_eta = eta * 1.02 + 0.01 * rng.standard_normal(2 * n)
    phi2 = phi + charge * 1.2 / pt
    columns = {
        "hwPt": PT.to_hardware(l1_pt),
        "hwEta": ETA.to_hardware(eta + 0.01 * rng.standard_normal(2 * n)),
        "hwPhi": PHI.to_hardware(phi2 + 0.005 * rng.standard_normal(2 * n)),
        "hwEtaAtVtx": ETA_VTX.to_hardware(l1_eta),
        "hwPhiAtVtx": PHI_VTX.to_hardware(l1_phi),
        "hwCharge": (charge < 0).astype(np.int64),
        "hwQual": rng.choice([4, 8, 12], 2 * n),
        "tfMuonIndex": rng.integers(36, 72, 2 * n),
        "recoPt": pt,
        "recoEta": eta,
        "recoPhi": phi,
        "recoCharge": charge,
        "recoEtaSt2": eta,
        "recoPhiSt2": phi2,
    }
    kept = np.flatnonzero((columns["hwPt"] >= 6) & (columns["hwPt"] <= 90))[:n]
    types = {c.name: c.type for c in COLUMNS}
    return {k: c[kept].astype(types.get(k, "float32")) for k, c in columns.items()}


def toy_dataset(n: int = 20_000, seed: int = 1, **about) -> Dataset:
    """Make a data set of toy muons."""
    columns = toy_columns(n, seed)
    about = {"simulated": True, "source": ["toy"], **about}
    return Dataset({c.name: columns[c.name] for c in COLUMNS}, about, "toy.parquet", "0" * 64)


def toy_events(n: int = 20_000, seed: int = 1) -> OrbitData:
    """Make one muon an event, all of which match."""
    columns = toy_columns(n, seed)
    rows, one = np.arange(n), np.ones(n, np.int64)
    batch = OrbitBatch(rows, one, np.arange(n + 1), {}, simulated=True)
    l1 = batch.with_columns(**{k: c for k, c in columns.items() if not k.startswith("reco")})
    reco = {k: c for k, c in columns.items() if k.startswith("reco")}
    return OrbitData.of_muons(l1, batch.with_columns(**reco, recoId=np.ones(n, np.bool_)), "toy")


def write_parquet(path, columns, about=None):
    """Write columns as somebody else would."""
    table = pa.table({k: pa.array(c) for k, c in columns.items()})
    if about is not None:
        table = table.replace_schema_metadata({METADATA_KEY: json.dumps(about).encode()})
    pq.write_table(table, path)
    return path
