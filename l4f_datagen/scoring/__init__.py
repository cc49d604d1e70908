"""Scores of predicted masks against hand-made truth, without generator and torch.

What cannot be paired, read or scored is refused with an `AnnotationRefused` that names it.
"""

from l4f_datagen.scoring.match import FolderPrediction as FolderPrediction
from l4f_datagen.scoring.match import Pair as Pair
from l4f_datagen.scoring.match import Prediction as Prediction
from l4f_datagen.scoring.match import match_truth as match_truth
from l4f_datagen.scoring.metrics import Scores as Scores
from l4f_datagen.scoring.protocol import score as score
from l4f_datagen.scoring.protocol import score_match as score_match
from l4f_datagen.scoring.protocol import score_pairs as score_pairs
from l4f_datagen.scoring.score_report import ScoreReport as ScoreReport
