"""Hub: publish a finished dataset on the Hugging Face Hub."""

from l4f_datagen.hub.content import Pushed as Pushed
from l4f_datagen.hub.content import push_to_folder as push_to_folder
from l4f_datagen.hub.content import total_bytes as total_bytes
from l4f_datagen.hub.publish import Push as Push
from l4f_datagen.hub.publish import ask_hub as ask_hub
from l4f_datagen.hub.publish import check_destination as check_destination
from l4f_datagen.hub.publish import plan_push as plan_push
from l4f_datagen.hub.publish import push as push
from l4f_datagen.hub.remote import Changes as Changes
from l4f_datagen.hub.remote import Remote as Remote
