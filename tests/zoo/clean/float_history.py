from parts import *

model, opt = unet()
history = {"loss": [], "lr": []}
rows = []
for step, (x, y) in enumerate(batches()):
    opt.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    opt.step()
    history["loss"].append(loss.item())
    history["lr"].append(1e-3)
    rows.append({"step": step, "loss": loss.item(), "name": f"step-{step}"})
